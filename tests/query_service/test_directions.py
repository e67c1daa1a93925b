"""Which way sentences say that things go."""

import pytest

from query_service.verification.directions import Directed


@pytest.mark.parametrize(
    ("claim", "agreeing", "other"),
    [
        ("Aspirin reduces fever.", "Fever was lower with aspirin.", "Fever was higher with aspirin."),
        ("Aspirin reduces fever.", "Aspirin led to less fever.", "Aspirin did not reduce fever."),
        ("Smoking increases mortality.", "Mortality increased among smokers.", "Mortality was reduced among smokers."),
        ("Tet2 promotes growth.", "Growth was enhanced by Tet2.", "Growth was impaired by Tet2."),
        ("The drug is not effective in asthma.", "Asthma did not improve.", "Asthma improved with the drug."),
        ("Binding isn't increased by heat.", "Heat lowers binding.", "Heat enhances binding."),
    ],
)
def test_a_text_agrees_where_the_same_things_go_the_same_way(claim: str, agreeing: str, other: str) -> None:
    assert Directed(claim).agreement(Directed(agreeing)) > 0
    assert Directed(claim).agreement(Directed(other)) < 0


@pytest.mark.parametrize("text", ["", ".", "The moon rises higher.", "Fever is a symptom.", "No."])
def test_a_text_that_says_nothing_of_it_neither_agrees_nor_not(text: str) -> None:
    assert Directed("Aspirin reduces fever.").agreement(Directed(text)) == 0
    assert Directed(text).agreement(Directed("Fever is a symptom of aspirin.")) == 0


def test_the_farther_apart_the_weaker_and_never_beyond_1() -> None:
    claim = Directed("Aspirin reduces fever.")
    near = claim.agreement(Directed("Reduced fever."))
    far = claim.agreement(Directed("It reduced, as we saw, the fever."))
    assert 0 < far < near < 1
    assert claim.agreement(Directed("Aspirin lowers fever. " * 50)) < 1


def test_a_negation_turns_what_follows_it_in_its_clause() -> None:
    claim = Directed("Memory cells enhance production.")
    assert claim.agreement(Directed("Memory, but not naive, cells enhance production.")) > 0
    assert claim.agreement(Directed("Memory cells do not enhance production.")) < 0


def test_parity_counts_what_negates_and_what_goes_down() -> None:
    parities = {
        "It grows.": 1,
        "It reduces growth.": -1,
        "It does not reduce growth.": 1,
        "Lack of it reduces growth.": 1,
        "It lacks growth.": -1,
    }
    assert {text: Directed(text).parity for text in parities} == parities
    assert Directed("It does not grow.").negates
    assert not Directed("It does not grow.").lowers
    assert Directed("It reduces growth.").lowers
