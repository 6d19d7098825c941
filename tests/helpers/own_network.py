"""A network of one's own in a package: what `network: {name: module, path: "my_nets.small:Net"}` finds."""

NET = """
import torch
from {width} import WIDTH
class Net(torch.nn.Module):
    def __init__(self, shape, classes, embedding):
        super().__init__()
        self.a = torch.nn.Conv2d(shape[0], WIDTH, 3, padding=1)
        self.b = torch.nn.Conv2d(WIDTH, shape[0], 3, padding=1)
    def forward(self, x, c_noise, label=None):
        return self.b(self.a(x))
"""


def files(width: str) -> dict[str, str]:
    """Its two files, the first of which imports the second by the name `width`."""
    return {"my_nets/small.py": NET.format(width=width), "my_nets/width.py": "WIDTH = 8\n"}
