"""What people write as labels: each must arrive letter by letter wherever it is shown."""

from __future__ import annotations

TEXTS = [
    r"EMA $\decay$ 0.9",
    "was $10, now $5",
    "a|b || c",
    "*bold* _em_ __init__ a_b_c x_ _y",
    "`code` and ``x`",
    "[^1] [a](b) ![i](u)",
    "[first in a LaTeX row]",
    "*first in a LaTeX row",
    "# head ## x ##",
    "- item",
    "1. one",
    "1) one",
    "+ plus",
    "<b>&amp; &lt; \"quoted\" 'single'</b>",
    "back\\slash \\* \\| end\\",
    "~~no~~ ^up^ --- --",
    "https://x.y/z_a_?q=1&b=2",
    "warm-up // none",
    "/a/ ./b ../c .",
    "50 % off #1 {a} {{b}} {0}",
    "[red]rich[/red] [bold",
    "e\u0301 \u65e5\u672c\u8a9e \U0001f600",
    "no\u00a0break  two spaces",
    "=1+1",
    "a*b",
    "a+b",
    "a_b",
    "x" * 300,
]
