"""python -m study.remove results/NAME COLUMN=VALUE ... [--yes]: takes runs out of a study, keeping a copy."""

from study.launch.remove import main

if __name__ == "__main__":
    main()
