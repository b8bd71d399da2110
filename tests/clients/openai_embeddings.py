#!/usr/bin/env python3
"""Uses a running Protext through the official `openai` client. Arguments: the address, the model's id.

Called by `tests/tests/clients.rs`.
"""

import sys

import openai


def main():
    address, model = sys.argv[1:]
    # The service takes no key; the client insists on one.
    client = openai.OpenAI(base_url=f"http://{address}/v1", api_key="none", max_retries=0)
    one = "MKTAYIAKQRQISFVKSHFSRQ"
    answer = client.embeddings.create(model=model, input=one)
    assert answer.model == model and len(answer.data) == 1
    vector = answer.data[0].embedding
    assert len(vector) == 320 and all(isinstance(value, float) for value in vector)
    assert answer.usage.prompt_tokens == len(one) + 2, answer.usage

    # Alone or among others, as floats or as base64 (the client's own default): the same vector.
    many = client.embeddings.create(model=model, input=["MKV", one, "MKV" * 50], encoding_format="float")
    assert [item.index for item in many.data] == [0, 1, 2]
    assert max(abs(a - b) for a, b in zip(many.data[1].embedding, vector)) < 1e-4

    assert [item.id for item in client.models.list()] == [model]
    try:
        client.embeddings.create(model=model, input=["MKV", "MK1"])
        raise AssertionError("a digit was taken for a residue")
    except openai.UnprocessableEntityError as error:
        assert error.body["record"] == 2 and "position 3" in error.body["detail"], error.body
    try:
        client.embeddings.create(model="other", input=one)
        raise AssertionError("an unknown model answered")
    except openai.NotFoundError as error:
        assert model in error.body["detail"], error.body


if __name__ == "__main__":
    main()
