"""Keep the Chinese edition in step with the English one.

PAGE is the name of a page's file without folder and suffix, such as 05_shifted_windows; none means all of them.

python -m docs.chinese update [PAGE …]         new and changed English sentences into the catalogues
python -m docs.chinese export PAGE FILE.json   what still needs Chinese: [{"id": 1, "en": "…"}, …]
python -m docs.chinese import PAGE FILE.json   the same list with a "zh" for each "en", checked, into the catalogue
python -m docs.chinese check [PAGE …]          what is missing, changed or obsolete, and faults of wording
python -m docs.chinese write                   README.zh-CN.md, docs/zh, notebooks/zh
"""

import argparse
import json
import sys
from pathlib import Path

from . import catalogues, copies, wording


def main(arguments=None):
    """Command line. Returns the exit status."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m docs.chinese", description=__doc__, formatter_class=form)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("update", "check"):
        commands.add_parser(name).add_argument("pages", nargs="*", metavar="PAGE")
    for name in ("export", "import"):
        command = commands.add_parser(name)
        command.add_argument("page", metavar="PAGE")
        command.add_argument("file", type=Path, metavar="FILE.json")
    commands.add_parser("write")
    options = parser.parse_args(arguments)
    try:
        return COMMANDS[options.command](options)
    except ValueError as error:
        print(f"python -m docs.chinese: {error}", file=sys.stderr)
        return 2


def chosen(names):
    """The names of pages that were given, or all; ValueError for an unknown one."""
    known = catalogues.pages()
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"expected one of {', '.join(sorted(known))}; found {unknown[0]}")
    return names or sorted(known)


def update(options):
    for name in chosen(options.pages):
        entries = [entry for entry in catalogues.update(name) if entry.id]
        done = sum(map(catalogues.is_done, entries))
        print(f"{name:28} {done:4} of {len(entries):4} messages in Chinese")
    return 0


def export(options):
    (name,) = chosen([options.page])
    entries = []
    for number, entry in enumerate((entry for entry in catalogues.update(name) if entry.id), 1):
        if not catalogues.is_done(entry):
            was = {"was": catalogues.previous(entry), "old": entry.string} if entry.fuzzy else {}
            entries.append({"id": number} | ({"key": entry.context} if entry.context else {}) | {"en": entry.id} | was)
    options.file.write_text(json.dumps(entries, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(f"{options.file}: {len(entries)} messages to translate")
    return 0


def take(options):
    """The command import."""
    (name,) = chosen([options.page])
    catalog, refused = catalogues.update(name), 0
    entries = {(entry.context, entry.id): entry for entry in catalog if entry.id}
    given = [entry for entry in json.loads(options.file.read_text(encoding="utf-8")) if entry.get("zh")]
    for given_entry in given:
        english, chinese = given_entry["en"], given_entry["zh"].strip()
        entry = entries.get((given_entry.get("key"), english))
        faults = ["the page doesn't say this any more: export again"] if entry is None else []
        if faults := faults or wording.faults(english, chinese, name):
            refused += 1
            print(f"{given_entry.get('id')}: {'; '.join(faults)}\n  en: {english}\n  zh: {chinese}", file=sys.stderr)
            continue
        entry.string, entry.user_comments = chinese, []
        entry.flags.discard("fuzzy")
    catalogues.save(name, catalog)
    left = sum(not catalogues.is_done(entry) for entry in entries.values())
    print(f"{name}: {len(given) - refused} taken, {refused} refused, {left} still without Chinese")
    return 1 if refused else 0


def check(options):
    found = []
    for name in chosen(options.pages):
        found += catalogues.faults(name)
        for (_, english), chinese in catalogues.translations(name).items():
            found += [
                f"{name}: {fault}\n  en: {english}\n  zh: {chinese}" for fault in wording.faults(english, chinese, name)
            ]
    print("\n".join(found) or "nothing to say")
    return 1 if found else 0


def write(_):
    for path in copies.write():
        print(path.relative_to(catalogues.ROOT))
    return 0


COMMANDS = {"update": update, "export": export, "import": take, "check": check, "write": write}

if __name__ == "__main__":
    sys.exit(main())
