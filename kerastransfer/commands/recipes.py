"""`kerastransfer recipes`."""


def recipes() -> None:
    """List the recipes, one per line."""
    from kerastransfer.recipes import __main__ as listing

    listing.main()
