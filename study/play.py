"""python -m study.play results/NAME [COLUMN=VALUE ...] [--episodes N] [--video FILE]: evaluates kept policies."""

from study.launch.play import main

if __name__ == "__main__":
    main()
