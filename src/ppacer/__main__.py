"""`python -m ppacer` is `ppacer`."""

from ppacer.cli import main

if __name__ == "__main__":
    main(prog_name="ppacer")
