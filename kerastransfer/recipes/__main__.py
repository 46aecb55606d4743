"""`python -m kerastransfer.recipes`: lists the recipes, one per line."""

from kerastransfer.recipes import pages


def main() -> None:
    lines = pages()
    width = max(map(len, lines))
    for name, line in lines.items():
        print(f"{name:{width}}  {line}")
    print("\npython -m kerastransfer.recipes.NAME --help shows the flags of a recipe.")


if __name__ == "__main__":
    main()
