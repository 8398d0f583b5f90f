"""`python -m bench` runs every benchmark, `python -m bench NAME ...` some."""

import argparse
import importlib

from bench import results

BENCHMARKS = ("get_job", "uploads", "blobs", "train", "train_spare_core", "train_order")
"""Modules of this package; each has `measure() -> list[Measurement]`."""
BY_NAME_ALONE = ("mongo_client",)
"""More of them, whose peer is not part of the set-up."""


def main() -> None:
    """Measure, print a table, keep the rows. A missed goal is printed; it does not fail."""
    known = (*BENCHMARKS, *BY_NAME_ALONE)
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    names = parser.parse_args().names or BENCHMARKS
    if unknown := [name for name in names if name not in known]:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(known)}")
    for name in names:
        measured = importlib.import_module(f"bench.{name}").measure()
        results.append(measured)
        print(results.table(measured), flush=True)


if __name__ == "__main__":
    main()
