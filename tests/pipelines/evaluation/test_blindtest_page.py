"""The page of the blind test in a real browser, operated by a rater of known skill."""

import asyncio
import json
import random
import urllib.parse

import pytest

from pipelines.evaluation.blindtest import make, page, score
from tests.fakes.browser import BROWSER, browsing
from tests.fakes.dialogues import people

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")

CHOOSE = "document.querySelector('.reply[data-side={side}]').click()"


@pytest.mark.timeout(120)
def test_a_rater_answers_goes_back_and_hands_over_a_file(tmp_path):
    test = make(people(2), people(1), questions=20, seed=1)
    (tmp_path / "test.html").write_text(page(test, server="the attic"), encoding="utf-8")
    chance = random.Random(1)
    chosen = [side if chance.random() < 0.6 else {"left": "right", "right": "left"}[side] for side in test.human]

    async def main():
        async with browsing((tmp_path / "test.html").as_uri(), tmp_path / "profile") as shown:
            await shown.run("document.getElementById('begin').click()")
            assert await shown.run("document.querySelectorAll('.reply').length") == 0  # not without a name
            await shown.run("document.getElementById('rater').value = 'Ann <b>'")
            await shown.run("document.getElementById('begin').click()")
            assert await shown.run("document.getElementById('back').disabled")
            for number, (question, side) in enumerate(zip(test.questions, chosen, strict=True)):
                texts = await shown.run("[...document.querySelectorAll('.reply')].map(one => one.innerText)")
                assert [text.split("\n") for text in texts] == [list(question.left), list(question.right)]
                if number == 3:
                    await shown.run(CHOOSE.format(side="left"))
                    await shown.run("document.getElementById('back').click()")
                await shown.run(CHOOSE.format(side=side))
            link = await shown.run("document.getElementById('save').href")
            assert await shown.run("document.getElementById('save').download") == "answers-Ann_b_.json"
            text = await shown.run("document.getElementById('result').value")
            assert shown.complaints == []
        return text, urllib.parse.unquote(link.partition(",")[2])

    text, saved = asyncio.run(main())
    assert text == saved
    found = score(test.key(), [saved])
    hits = sum(side == human for side, human in zip(chosen, test.human, strict=True))
    assert found.overall.value == hits / 20
    assert list(found.raters) == ["Ann <b>"]
    assert json.loads(saved)["answers"] == chosen
