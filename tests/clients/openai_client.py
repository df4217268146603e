"""The official openai client against a running deployment.

    python openai_client.py URL MODEL PROMPT

Fails with a traceback where the client and the server do not understand each other.
"""

import sys

from openai import BadRequestError, NotFoundError, OpenAI


def main(url: str, model: str, prompt: str) -> None:
    client = OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0)

    names = [entry.id for entry in client.models.list()]
    assert model in names, names
    assert client.models.retrieve(model).id == model

    whole = client.completions.create(model=model, prompt=prompt, max_tokens=12, temperature=0)
    text = whole.choices[0].text
    assert whole.object == "text_completion" and text, whole
    assert whole.choices[0].finish_reason in ("stop", "length"), whole
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens

    # Streaming gives the same text, and usage at the end where it is asked for.
    pieces, usage = [], None
    for chunk in client.completions.create(
        model=model,
        prompt=prompt,
        max_tokens=12,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    ):
        pieces.extend(choice.text for choice in chunk.choices)
        usage = chunk.usage or usage
    assert "".join(pieces) == text, (pieces, text)
    assert usage.completion_tokens == whole.usage.completion_tokens, usage

    # A seed decides what is drawn; several choices are several draws.
    draw = dict(model=model, prompt=prompt, max_tokens=6, temperature=1.5, n=3, seed=5)
    first, second = client.completions.create(**draw), client.completions.create(**draw)
    assert [c.text for c in first.choices] == [c.text for c in second.choices]
    assert [c.index for c in first.choices] == [0, 1, 2]

    # What evaluation harnesses do: score a prompt.
    echo = client.completions.create(
        model=model, prompt=prompt, max_tokens=1, temperature=0, echo=True, logprobs=1
    )
    logprobs = echo.choices[0].logprobs
    assert echo.choices[0].text.startswith(prompt), echo
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) >= 2, logprobs
    assert all(value is None or value <= 0 for value in logprobs.token_logprobs), logprobs

    try:
        client.completions.create(model="nobody", prompt=prompt)
        raise AssertionError("an unknown model was served")
    except NotFoundError as error:
        assert "nobody" in str(error), error
    try:
        client.completions.create(model=model, prompt=prompt, temperature=-1)
        raise AssertionError("a negative temperature was accepted")
    except BadRequestError as error:
        assert "temperature" in str(error), error


if __name__ == "__main__":
    main(*sys.argv[1:])
    print("ok")
