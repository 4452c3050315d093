"""What a dictated answer says beside its words: tokens, the stop sequence that was met, why it was refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anthropic
import openai

if TYPE_CHECKING:
    from tests.simulators import ProviderHandle

HELLO: Any = [{"role": "user", "content": "hello"}]
TOKENS = {"fresh": 3, "cached": 20, "written": 5, "output": 9}


def test_a_chat_says_dictated_tokens_and_the_stop_sequence_whole_and_streamed(acme: ProviderHandle) -> None:
    acme.behave(reply={"text": "one, two", "stop_sequence": "END", "tokens": TOKENS})

    with openai.OpenAI(api_key="k", base_url=acme.base_url, max_retries=0, _strict_response_validation=True) as client:
        whole = client.chat.completions.create(model="m", messages=HELLO)
        options: Any = {"include_usage": True}
        chunks = list(client.chat.completions.create(model="m", messages=HELLO, stream=True, stream_options=options))

    for usage in (whole.usage, chunks[-1].usage):
        assert usage is not None
        assert usage.prompt_tokens_details is not None
        assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (28, 9, 37)
        assert usage.prompt_tokens_details.to_dict() == {
            "audio_tokens": 0,
            "cached_tokens": 20,
            "cache_write_tokens": 5,
        }
    for choice in (whole.choices[0], chunks[-2].choices[0]):
        assert (choice.finish_reason, choice.to_dict()["stop_reason"]) == ("stop", "END")


def test_a_message_says_dictated_tokens_and_why_it_stopped_whole_and_streamed(claudia: ProviderHandle) -> None:
    with anthropic.Anthropic(
        api_key="k", base_url=claudia.base_url.removesuffix("/v1"), max_retries=0, _strict_response_validation=True
    ) as client:

        def answers() -> list[Any]:
            whole = client.messages.create(model="m", max_tokens=64, messages=HELLO)
            with client.messages.stream(model="m", max_tokens=64, messages=HELLO) as stream:
                return [whole, stream.get_final_message()]

        claudia.behave(reply={"text": "one, two", "stop_sequence": "END", "tokens": TOKENS})
        stopped = answers()
        claudia.behave(reply={"explanation": "Not that."})
        refused = answers()

    for message in stopped:
        usage = message.usage
        assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "END")
        assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (3, 20, 5)
        assert usage.output_tokens == 9
    for message in refused:
        assert (message.content, message.stop_reason) == ([], "refusal")
        assert message.stop_details is not None
        assert message.stop_details.explanation == "Not that."
