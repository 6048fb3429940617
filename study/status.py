"""python -m study.status results/NAME: how far a study is, running or not."""

from study.launch.status import main

if __name__ == "__main__":
    main()
