"""Tables, figures and pages made from the analysis; rendering alone."""
