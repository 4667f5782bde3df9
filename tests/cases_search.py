"""What the cases of cases/search must do (see case_runner.py)."""

from case_runner import Case

TOY = "nas search raw_pcdarts/toy data.subset='{train: 32, dev: 16, eval: 16}' search.epochs=2 -q"
TRAIN = "nas train raw_pcdarts/toy data.subset='{train: 32, dev: 16, eval: 16}' train.epochs=1 -q"

CELL = "[('point', 0), ('skip_connect', 1), ('std_conv_7', 0), ('point', 2), ('skip_connect', 1), ('std_conv_7', 3)]"
"""Of the space mine."""

CASES: dict[str, Case] = {
    "01_study_of_another_recipe": Case(
        says=("holds a study 'small' of something else: network.channels was 4, is 8",),
        code=2,
        command="nas tune a.yaml -g genotype.json -o A --storage sqlite:///studies.db -q && "
        "nas tune b.yaml -g genotype.json -o B --storage sqlite:///studies.db -q",
    ),
    "02_study_goes_on_with_another_genotype": Case(
        says=("it was begun with genotype.json, another genotype than other.json",),
        code=2,
        command="nas tune a.yaml -g genotype.json -o A -q && nas tune a.yaml -g other.json -o A --trials 4 -q",
    ),
    "03_password_in_run_and_report": Case(
        says=("found nothing",),
        never=(r"page\.html:|environment\.json:",),
        command='nas tune a.yaml -g genotype.json -o A --storage "sqlite:///file:$PWD/s.db?uri=true&password=Hunter2x" '
        "-q > /dev/null 2>&1; nas report A/trials/0000 -o page.html && "
        "grep -rl Hunter2x A page.html || echo found nothing",
    ),
    "07_journal_cut_short": Case(
        says=(r"line 20 of A/study\.journal, its last one, was cut short", "best of 3 trials")
    ),
    "14_one_diverging_trial_ends_the_study": Case(
        says=(r"failed: the loss is not finite", r"best of 4 trials \(0 ended early, [12] failed\)")
    ),
    "16_tune_stopped_by_the_cluster": Case(
        says=("stopped and saved; go on with: nas tune a.yaml", "going on at epoch", "0,complete", "1,complete"),
        never=("nas resume", "0,fail"),
        command="study='nas tune a.yaml train.epochs=12 -g genotype.json -o A -q'; $study & until grep -q 'epoch 2/' "
        "A/trials/0000/log.txt 2> /dev/null; do sleep 0.1; done; kill -TERM $!; wait; $study; cat A/trials.csv",
    ),
    "20_tune_again_without_its_storage": Case(
        says=(r"the study of A is on sqlite:///s\.db; give --storage",), never=("remove it", "study.journal")
    ),
    "21_tune_from_a_run_without_genotype": Case(
        says=("best of 1 trials", "score it: nas evaluate T"), never=("give --genotype", "Is a directory")
    ),
    "31_tune_in_two_processes": Case(
        says=("nas tune runs a trial in one process", "nothing begun"),
        command="python -m torch.distributed.run --standalone --nproc-per-node 2 -m nas tune a.yaml -g genotype.json "
        "-o A -q 2>&1 | grep nas:; ls A 2> /dev/null || echo nothing begun",
    ),
    "35_workers_begin_one_database_at_once": Case(
        says=(r"(?s)(best of 6 trials.*){3}",),
        never=("nas: ",),
        command="for i in 1 2 3; do nas tune a.yaml -g genotype.json -o A --storage sqlite:///studies.db -q "
        "> $i.txt 2>&1 & done; wait; cat 1.txt 2.txt 3.txt",
    ),
    "36_resume_of_a_study": Case(
        says=(r"(?s)(A is a study, not a run; its runs are A/trials/NNNN, and it goes on with: nas tune a\.yaml.*){2}",)
    ),
    "04_computed_primitive_works_in_place": Case(
        says=("primitive relu_conv .* changes its input in place",),
        code=2,
        command="nas train raw_pcdarts/toy space=inplace --space-file inplace.py -g genotype.json -o T -q",
    ),
    "05_retrain_hint_forgets_the_changes": Case(
        says=(
            "retrain it: nas train S --output S-train",
            r"S/recipe.yaml:  channels: 8",
            r"T/recipe.yaml:  channels: 8",
        ),
        never=("T/recipe.yaml:  (channels: 4|frontend: mel)",),
        command=f"{TOY} network.channels=8 network.frontend=linear -o S | tee said; "
        "$(sed -n 's/^retrain it: //;s/--output .*/--output T/p' said | tail -1) -q train.epochs=1; "
        "grep -E 'channels|frontend' S/recipe.yaml T/recipe.yaml",
    ),
    "06_genotype_does_not_know_its_space": Case(
        says=(
            r"refused 2",
            r"it is of the search space 'redefined', not of 'raw_waveform'",
            r"raw-pcdarts: [\d,]+ parameters",
        ),
        command=f"{TOY} space=redefined --space-file redefined.py -o S; {TRAIN} -g S/genotype.json -o T; "
        f"echo refused $?; {TRAIN} space=redefined --space-file redefined.py -g S/genotype.json -o U",
    ),
    "08_even_kernel": Case(says=("primitive std_conv_4: the kernel must be odd",), code=2),
    "09_huge_seed": Case(says=("seed=18446744073709551616.* beyond 64 bits",), code=2),
    "10_dataclass_in_a_space_file": Case(
        says=("genotype of epoch 2", "genotype.json"),
        command=f"{TOY} space=settings_space --space-file settings_space.py -o S",
    ),
    "11_verbs_without_space_file": Case(
        says=(r"report: T/report\.html", r"x\.wav -?\d", r"drawn: x\.png"),
        never=("there is no search space",),
        command=f'echo "Genotype(normal={CELL}, reduce={CELL})" > found.txt; '
        f"{TRAIN} space=mine --space-file mine.py -g found.txt -o T; python tone.py; "
        "nas report T && nas score x.wav --run T && nas explain T x.wav -o x.png --steps 2 && "
        "nas report T --space-file mine.py",
    ),
    "12_genotype_as_genotypes_py_has_it": Case(
        says=(r"(?s)(Genotype\(normal=\[\('std_conv_3', 0\).*){3}",), never=("nas: ",)
    ),
    "13_printed_genotype_is_not_read": Case(
        says=(r"normal=\[\[\('std_conv_3', 0\)\], \[\('skip_connect', 2\)\]", "best epoch 1"),
        never=("nas: ",),
        command="nas show genotype.json --space chain --space-file chain.py > printed.txt && cat printed.txt && "
        "nas show printed.txt --space chain --space-file chain.py && "
        f"{TRAIN} space=chain --space-file chain.py -g printed.txt -o T",
    ),
    "18_computed_primitive_changes_the_length": Case(
        says=(r"primitive conv .* makes \[B, C, T\] into \[B, C, T - 2\]", "S is not there"),
        code=2,
        command=f"{TOY} space=shrink --space-file shrink.py -o S; code=$?; [ -e S ] || echo S is not there; exit $code",
    ),
    "32_space_of_show_is_not_looked_at": Case(
        says=(
            "drawn: cells.svg\n",
            "2 intermediate nodes, search space 'raw_waveform' has 4",
            "there is no search space 'nosuch'",
            "(?s)\n0\n.*\n2\n.*\n2\n",
        )
    ),
    "33_text_with_a_byte_order_mark": Case(says=(r"(?s)(Genotype\(.*\n0\n.*){2}",), never=("nas: ",)),
    "34_none_everywhere": Case(
        says=("no path through the normal cell carries a signal",), code=2, command=f"{TRAIN} -g none.txt -o T"
    ),
    "15_run_moved_with_its_corpus": Case(
        says=(
            r"there is no corpus at .*/here/corpus/manifest\.csv, .*nas resume there/run --data-root DIR",
            r"the corpus is the same",
            r"finished: epoch \d+ is the best",
            r"EER",
        ),
        command="""python corpus.py
nas train raw_pcdarts/toy data.layout=manifest data.root=here/corpus/manifest.csv data.subset={} train.epochs=40 \\
    train.schedule=constant engine.pictures=0 -g genotype.json -o here/run -q > /dev/null 2>&1 &
until grep -q 'epoch 2/' here/run/log.txt 2> /dev/null; do sleep 0.2; done; kill -TERM $!; wait
mv here there
nas resume there/run -q
sed -i 's#/here/#/there/#' there/run/recipe.yaml; sed -i 's#here/corpus#there/corpus#' there/run/recipe.yaml
nas resume there/run -q && nas evaluate there/run -q""",
    ),
    "17_resumed_twice_at_once": Case(
        says=(r"R is being worked on by process \d+ of this machine, since", "(?m)^1$"),
        command="""nas train raw_pcdarts/toy train.epochs=60 train.schedule=constant engine.pictures=0 \\
    data.samples=1000 -g genotype.json -o R -q > /dev/null 2>&1 &
until grep -q 'epoch 2/' R/log.txt 2> /dev/null; do sleep 0.2; done
nas resume R -q; wait
grep -c "epoch 60/60" R/log.txt; ls R/tensorboard""",
    ),
    "19_run_on_a_read_only_disk": Case(
        says=(r"ro/R/scores/eval\.txt: Read-only file system; the metrics are not kept", "EER", "(?m)^0$"),
        never=("scores: ",),
        command="""nas train a.yaml -g genotype.json -o R -q > /dev/null 2>&1
mkdir ro && mount -t tmpfs none ro && trap 'umount ro' EXIT && cp -r R ro/ && mount -o remount,ro ro
nas evaluate ro/R -q; echo $?""",
    ),
}
