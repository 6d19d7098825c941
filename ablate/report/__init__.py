"""Tables, figures and pages made from the analysis; rendering only."""
