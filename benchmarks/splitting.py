"""Our sentence splitter beside others, on hard cases and whole papers.

    python benchmarks/splitting.py DIRECTORY

(with `pip install pysbd syntok nupunkt blingfire`). DIRECTORY is a collection in BEIR layout with answer_spans.jsonl.
Prints for each splitter how many of the hard cases it splits right, and its mistakes; the seconds that a MB of the
collection's texts takes, median of three; how many sentences it finds, their median length in characters, and the share
of the answers that lie within one sentence: an answer that is cut in two is cited by halves.
"""

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rag_client.evaluation import lines
from rag_papers.retrieval.sentences import sentences

Splitter = Callable[[str], list[str]]

# Written before any splitter was tried on them; | stands between two sentences.
CASES = """
As Fig. 3 shows, it grows. | See also Fig. 4B.
It is shown in Figs. 2 and 3. | The others are in the supplement.
This follows from Eq. (3) and Sec. 4. | It is exact.
Smith et al. showed it. | Others did not.
As reported by Smith et al. (2019), it fails. | It still does.
Dr. A. B. Smith and Prof. C. Jones agree. | Nobody else does.
The mean was 3.14 (p < 0.05). | The median was 2.
Survival rose by 12.5%. | Mortality fell.
Many drugs, e.g. aspirin, i.e. salicylates, help. | Others do not.
Mice got 5 mg/kg i.v. or i.p. daily. | Controls got saline.
Patients took 10 mg b.i.d. for a week. | All recovered.
Cells of S. aureus and E. coli grew. | Those of B. subtilis died.
The genus Salmonella enterica subsp. enterica was found. | It spreads.
Several Lactobacillus spp. were isolated. | None was resistant.
The drug was better than placebo (hazard ratio 0.57, 95% CI 0.44-0.74; P = .46). | It is safe.
It was compared vs. placebo in St. Louis. | It was stopped early.
He works at Roche Inc. in Basel. | She does not.
The U.S. Food and Drug Administration agreed. | Europe waited.
It was approved in the U.S. | Europe followed in May.
Samples were kept at 25 °C. | After that they were frozen.
The pH was 7.4. | Buffers were added.
Patients were infected with hepatitis C. | We treated all of them.
They lacked vitamin B. | The others lacked nothing.
Subjects were assigned to group A. | Those of group B waited.
See Ref. 12 and refs. 13-15. | They differ.
It costs approx. 5 dollars, ca. half as much. | It lasts.
Apples, pears, etc. were eaten. | Then came cake.
They ate apples, pears, etc. | Then came cake.
On Jan. 5 the trial began. | On Dec. 24 it ended.
At 3 p.m. the samples were taken. | At 5 p.m. they were frozen.
No. 5 was lost. | No. 6 was found.
Is it true? | No! | Really.
He asked "Why?" and left. | She stayed.
She said: "It works." | Then she left.
(It is said in parentheses.) | This is not.
Version 1.2.3 was used. | Version 2.0 is out.
Visit www.example.org. | It is free.
The gene p53 is a suppressor. | mRNA was measured.
It depends on IL-6. | α-synuclein does not matter.
Overuse was the culprit.1-3 | Reducing it was the answer.
This was shown before [12]. | It was refuted later [13,14].
This was shown before. [12] | It was refuted later.
We used 10 samples. | 20 were lost.
OBJECTIVE: To measure growth. | METHODS: We measured it.
The result, viz. zero, is exact (cf. Jones). | It is small.
J. Biol. Chem. published it. | Nature did not.
Mr. and Mrs. Smith came. | Ms. Jones left.
It is about 1.5-fold. | The rest is 2-fold.
Growth stopped... | Nothing helped.
病毒通过飞沫传播。 | 潜伏期为五天。
これは文です。 | これも文ですか? | はい。
바이러스는 전파된다. | 백신은 없다.
La vacuna funciona. | ¿Es segura? | Sí.
Der Test, z.B. die PCR, ist genau. | Er dauert lange.
""".strip()


def main(directory: Path) -> None:
    texts = {row["_id"]: row["text"] for _, row in lines.read_objects(directory / "corpus.jsonl")}
    answers = [(row["doc"], row["text"]) for _, row in lines.read_objects(directory / "answer_spans.jsonl")]
    megabytes = sum(len(text.encode()) for text in texts.values()) / 1e6
    for name, split in splitters().items():
        wrong = [case for case in CASES.splitlines() if not is_right(split, case.split(" | "))]
        took = []
        for _ in range(3):
            start = time.perf_counter()
            found = {paper: [" ".join(each.split()) for each in split(text)] for paper, text in texts.items()}
            took.append(time.perf_counter() - start)
        lengths = [len(sentence) for group in found.values() for sentence in group]
        cases = len(CASES.splitlines())
        print(
            f"{name}: {cases - len(wrong)} of {cases} cases right; {statistics.median(took) / megabytes:.2f} s a MB; "
            f"{len(lengths)} sentences of {statistics.median(lengths):.0f} characters; "
            f"{whole(found, answers):.3f} of the answers within one"
        )
        for case in wrong:
            print(f"    {' | '.join(split(case.replace(' | ', ' ')))}")


def splitters() -> Mapping[str, Splitter]:
    import blingfire
    import nupunkt
    import pysbd
    from syntok import segmenter

    return {
        "ours": lambda text: [text[span.start : span.end] for span in sentences(text)],
        "pysbd": pysbd.Segmenter(language="en", clean=False).segment,
        "nupunkt": nupunkt.sent_tokenize,
        "syntok": lambda text: [
            "".join(token.spacing + token.value for token in sentence).strip()
            for paragraph in segmenter.analyze(text)
            for sentence in paragraph
        ],
        "blingfire": lambda text: blingfire.text_to_sentences(text).splitlines(),
    }


def is_right(split: Splitter, expected: Sequence[str]) -> bool:
    return [each.strip() for each in split(" ".join(expected))] == list(expected)


def whole(found: Mapping[str, Sequence[str]], answers: Sequence[tuple[str, str]]) -> float:
    """Share of the answers that are in one sentence."""
    within = [any(" ".join(answer.split()) in each for each in found[paper]) for paper, answer in answers]
    return sum(within) / len(within)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
