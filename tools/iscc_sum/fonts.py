"""Find fonts for names, which may be in any script."""

from matplotlib import font_manager

FIRST = "DejaVu Sans"
MISSING = "□ a letter for which no font is installed"


def fonts_for(text: str) -> tuple[list[str], bool]:
    """Installed fonts that together cover a text, and whether any characters are missing.

    matplotlib comes with a font for Latin, Greek, Cyrillic and Arabic letters, among others, but
    not for Chinese, Japanese or Korean. Characters that no font covers are drawn as boxes.
    """
    fonts = [FIRST]
    missing = {ord(character) for character in text if character.isprintable()}
    missing -= characters_of(font_manager.findfont(FIRST))
    for entry in sorted(font_manager.fontManager.ttflist, key=lambda entry: entry.fname):
        if not missing:
            break
        if entry.name in fonts or not characters_of(entry.fname) & missing:
            continue
        # A family is drawn with one of its faces, which may lack letters that others have.
        if has := characters_of(font_manager.findfont(entry.name)) & missing:
            fonts.append(entry.name)
            missing -= has
    return fonts, bool(missing)


def characters_of(font: str) -> set[int]:
    """The characters that a font file can draw at any size; none if it cannot be used."""
    try:
        opened = font_manager.get_font(font)
    except (OSError, RuntimeError):
        return set()
    return set(opened.get_charmap()) if opened.scalable else set()
