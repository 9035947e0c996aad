"""The checks of the documentation site; CI builds it."""

from loading import load_script

build_site = load_script("build_site")


def test_dead_links_and_loads_from_outside_are_found(tmp_path):
    (tmp_path / "a.html").write_text(
        '<h1 id="top">A</h1><a href="#top"></a><a href="b.html#there"></a><a href="#no"></a>'
        '<a href="https://example.org"></a><img src="gone.png"><a href="b.html#gone"></a>'
        '<script src="https://example.org/a.js"></script>'
    )
    (tmp_path / "b.html").write_text('<a id="there" href="a%2Ehtml">A</a><img src="data:,">')
    (tmp_path / "c.css").write_text('a { background: url("//example.org/c.png") } b { url(c.png) }')
    assert build_site.dead_links(tmp_path) == [
        "a.html: #no does not exist",
        "a.html: b.html#gone does not exist",
        "a.html: gone.png does not exist",
    ]
    assert build_site.outside_loads(tmp_path) == [
        "a.html: loads https://example.org/a.js",
        "c.css: loads //example.org/c.png",
    ]
