"""Write `dashboards/` anew; what is no longer made goes."""

from __future__ import annotations

from scripts.dashboards.files import FOLDER, contents


def main() -> None:
    made = contents()
    for path in [path for path in FOLDER.rglob("*") if path.is_file()]:
        if path.suffix in {".json", ".yaml"} and str(path.relative_to(FOLDER)) not in made:
            path.unlink()
    for name, text in made.items():
        path = FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
