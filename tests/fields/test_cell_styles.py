"""Test that types can be told apart without seeing their colors."""

from Classes.fields import cell_styles


def luminance(color):
    """The relative luminance of WCAG 2."""
    shares = [value / 255 for value in color]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_no_two_types_have_the_same_symbol():
    styles = [*cell_styles.STYLES.values(), cell_styles.BLAST]
    assert len({style.symbol for style in styles}) == len(styles)
    assert len({style.color for style in styles}) == len(styles)


def test_numbers_are_legible_on_every_color():
    for style in [*cell_styles.STYLES.values(), cell_styles.BLAST, cell_styles.OTHER]:
        low, high = sorted([luminance(style.color), luminance(style.text_color)])
        assert (high + 0.05) / (low + 0.05) >= 4.5


def test_every_kind_of_blast_has_the_style_of_blasts_and_an_erythroblast_has_not():
    assert cell_styles.style_of("lymphoblast") == cell_styles.style_of("myeloblast") == cell_styles.BLAST
    assert cell_styles.style_of("erythroblast") != cell_styles.BLAST
    assert cell_styles.style_of("plasma cell") == cell_styles.OTHER
