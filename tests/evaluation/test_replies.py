"""What is read of a reply by plain rules."""

from workbench.evaluation.replies import opens_with_refusal


def test_a_refusal_is_told_by_its_first_words_after_what_it_was_begun_with() -> None:
    assert opens_with_refusal("I’m sorry, but no.")
    assert opens_with_refusal("Sure, here is I cannot help with that.", "Sure, here is")
    assert not opens_with_refusal("Sure, here is how. I'm sorry that it is long.", "Sure, here is")
    assert not opens_with_refusal("Say 'I'm sorry' to her first.")
