"""`kerastransfer presets`."""


def presets() -> None:
    """List the published weights that --encoder takes by name: size, licence, and whether they are in the cache."""
    from rich.console import Console
    from rich.table import Table

    from kerastransfer.presets import PRESETS, download

    table = Table()
    table.add_column("name", no_wrap=True)
    for title in ("MB", "trained on", "licence", "in the cache"):
        table.add_column(title)
    for name, preset in PRESETS.items():
        # Keras keeps its own.
        size = f"{sum(file.size for file in preset.files) / 1e6:.1f}" if preset.files else ""
        kept = "yes" if all(map(download.is_cached, preset.files)) else "no"
        table.add_row(name, size, preset.trained_on, preset.licence, kept if preset.files else "Keras's")
    Console(markup=False, highlight=False).print(table)
    print(f"cache: {download.home()} (KERASTRANSFER_HOME); hub:NAME is a backbone of keras-hub")
