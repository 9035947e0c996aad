"""The page in a browser: it opens, a slider changes the physics, adapting changes the policy."""

import json
import threading
import time

import pytest
import torch
from browser import MISSING, Browser

from metarobot.play.exchange import Exchange
from metarobot.play.loop import PlayLoop
from metarobot.play.page import PlayPage
from metarobot.play.screens import PictureScreen
from metarobot.play.server import PlayServer

STATE = "JSON.parse(document.body.dataset.told).state"


@pytest.mark.skipif(MISSING, reason="needs Chromium and bash")
def test_a_person_plays(play, tmp_path, opengl):
    session, exchange, done = play("latent"), Exchange(), threading.Event()
    server = PlayServer(0, exchange, session.sliders, PlayPage(session, "run", has_pictures=True))
    found = {}

    def person():
        try:
            with Browser(tmp_path) as page:
                page.open(server.address)
                found.update(visit(page))
        finally:
            done.set()

    visitor = threading.Thread(target=person)
    with server:
        visitor.start()  # this thread simulates and draws, as in the command
        PlayLoop(session, PictureScreen(exchange), exchange, done.is_set).run()
        visitor.join()
    assert found["width"] == [390, 390]
    index = session.env.model.body("puck").id
    assert session.env.batch.expand("body_mass")[0, index] == found["mass"] > 0.3
    assert session.adapted.num_episodes == 2
    before, after = session.initial.params, session.adapted.params
    assert any(not torch.equal(after[name], leaf) for name, leaf in before.items())
    assert found["problems"] == ""


def visit(page):
    """Do what a person does."""
    page.resize(390, 844)
    page.wait("document.getElementById('before').naturalWidth == 640")
    page.wait(STATE)
    width = json.loads(
        page.evaluate("JSON.stringify([document.documentElement.scrollWidth, innerWidth])")
    )
    nominal = page.evaluate(f"{STATE}.task.puck_mass_kg")
    slider = "document.getElementById('slider-puck_mass_kg')"
    page.evaluate(f"{slider}.value = 900; {slider}.dispatchEvent(new Event('input'))")
    mass = page.wait(f"{STATE}.task.puck_mass_kg != {nominal} && {STATE}.task.puck_mass_kg")
    for _ in range(2):
        page.evaluate("document.getElementById('try').click()")
    page.wait(f"{STATE}.trials.length == 2")
    page.evaluate("document.getElementById('adapt').click()")
    page.wait(f"{STATE}.num_adapted == 2")
    page.wait("!document.getElementById('view-adapted').hidden")
    page.wait("document.getElementById('adapted').naturalWidth == 640")
    page.wait("document.querySelector('.told b').textContent.includes('kg')")
    told = hide(page)
    page.wait(f"document.body.dataset.told != {json.dumps(told)}")
    problems = page.evaluate("document.getElementById('problem').textContent")
    return {"width": width, "mass": mass, "problems": problems}


def hide(page):
    """Hide the page, and show it again; return what it was told, which was nothing meanwhile."""
    hidden = "Object.defineProperty(document, 'hidden', {value: %s, configurable: true})"
    page.evaluate(hidden % "true")
    time.sleep(1.0)  # what is on its way arrives
    told = page.evaluate("document.body.dataset.told")
    time.sleep(1.0)
    assert page.evaluate("document.body.dataset.told") == told
    page.evaluate(hidden % "false")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    return told
