"""python -m study.merge results/NAME results/OTHER ...: adds other folders' runs to the first; the others stay."""

from study.launch.merge import main

if __name__ == "__main__":
    main()
