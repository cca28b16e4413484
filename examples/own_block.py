"""A search over networks with a kind of block of your own, here depthwise convolutions of two sizes, added.

    python examples/own_block.py

scikit-learn's digits, no download, a minute on one core. `own_block.toml` beside this file is the search space. Whoever
looks at the study later, in Python or by `nas status mixed`, needs nothing of this file; going on with it does.
"""

import argparse
from pathlib import Path

import nas
from nas.app.verify import verify


def mixed(block: nas.BlockBuilder, large: int) -> None:
    """Add a depthwise convolution of 3x3 pixels and one of `large`, then a 1x1 convolution (after Tan and Le 2019,
    MixConv, which splits the channels between the sizes).
    """
    small_map = block.depthwise(3, block.stride)
    large_map = block.depthwise(large, block.stride, of=block.input)
    block.add(small_map, large_map)
    block.norm()
    block.conv(block.width, groups=block.groups)  # its norm, the shortcut and the activation follow by themselves


def main() -> None:
    """Search, take the answer away, and have its claims derived again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10, help="to try")
    parser.add_argument("--epochs", type=int, default=8)
    options = parser.parse_args()
    nas.register_block("mixed", mixed, options={"large": [5, 7]})
    study = nas.search(
        max_params=1000,
        dataset="digits",
        space=Path(__file__).with_suffix(".toml"),
        name="mixed",
        max_trials=options.trials,
        epochs=options.epochs,
        num_seeds=2,
    )
    print(study.answer)
    study.export("mixed.py")
    checks, _ = verify(Path("mixed.py"), None)
    print(f"{sum(check.holds for check in checks)} of {len(checks)} claims of mixed.py hold")


if __name__ == "__main__":
    main()
