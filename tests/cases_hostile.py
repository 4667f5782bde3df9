"""What the cases of cases/hostile must do (see case_runner.py)."""

from case_runner import Case

EDGES = '[["std_conv_3", 0], ["skip_connect", 1]], [["dil_conv_5", 1], ["max_pool_3", 2]]'
GENOTYPE = f'{{"normal": [{EDGES}, {EDGES}], "expand": [{EDGES}, {EDGES}]}}'
TRAINING = f"echo '{GENOTYPE}' > g.json; nas train raw_pcdarts/toy data.samples=1000 engine.pictures=0 -g g.json"
TRAINED = f"{TRAINING} train.epochs=1 -o RUN -q > /dev/null 2>&1"

CASES: dict[str, Case] = {
    "09_password_in_environment_json": Case(
        says=("found nothing",),
        command=f"echo '{GENOTYPE}' > g.json; nas tune raw_pcdarts/toy data.samples=1000 -g g.json -o T --trials 1 -q "
        "'tune.ranges={train.batch_size: [8, 16]}' --storage 'sqlite:///t.db?password=s3cretPW' > /dev/null 2>&1; "
        "nas report T/trials/0000 -o page.html && grep -rl s3cretPW T page.html || echo found nothing",
    ),
    "10_workers_start_at_once": Case(
        says=(r"(?s)(w\d\.log.*plots: T/plots.*){4}",), never=("UNIQUE",), command="sh run.sh; tail -n1 w?.log"
    ),
    "17_tune_on_a_full_disk": Case(
        says=("nas: cannot write .*No space left on device",),
        code=None,
        command="mkdir m && mount -t tmpfs -o size=4k tmpfs m && trap 'umount m' EXIT; "
        f"echo '{GENOTYPE}' > g.json; nas tune raw_pcdarts/toy data.samples=1000 -g g.json -o m/t -q "
        "'tune.ranges={train.learning_rate: [1e-3, 1e-2]}'",
    ),
    "01_genotype_deep_expression": Case(
        says=(r"unary\.txt: genotype: ", r"lambda\.txt: genotype: "),
        code=2,
        command="nas show unary.txt; nas show lambda.txt",
    ),
    "03_genotype_big_integer": Case(says=("big.json: .* beyond 64 bits",), code=2, command="nas show big.json"),
    "04_seed_beyond_64_bit": Case(
        says=("seed=18446744073709551616.* beyond 64 bits", r"huge_hex\.yaml:1: seed: .* beyond 64 bits"),
        code=2,
        command="nas search raw_pcdarts/toy seed=18446744073709551616 -o X; nas train huge_hex.yaml -o X",
    ),
    "05_samples_beyond_memory": Case(
        says=(r"data\.samples=999999999999999999 .* takes",),
        code=2,
        command="nas search raw_pcdarts/toy data.samples=999999999999999999 -o X",
    ),
    "06_name_half_surrogate": Case(
        says=("half of a surrogate pair",),
        code=2,
        command="""nas search raw_pcdarts/toy 'name="\\ud800"' -o X""",
    ),
    "07_manifest_long_path": Case(
        says=(r"manifest\.csv, line 2: the path .* \(File name too long\)",),
        code=2,
        command="nas data inspect manifest.csv --layout manifest; "
        "nas search raw_pcdarts/toy data.layout=manifest data.root=manifest.csv -o X",
    ),
    "12_two_builds_one_output": Case(
        says=("C is being worked on by process", r"manifest: C/manifest\.csv", "\n41 C/manifest.csv"),
        command="""python - <<'END'
import soundfile
from pathlib import Path
from nas.data.embedded import embedded_corpus
for row, waveform in zip(*embedded_corpus(0, speakers=4, utterances=10, seconds=1.5)):
    path = Path("speech", row.speaker, row.utterance + ".wav")
    path.parent.mkdir(parents=True, exist_ok=True)
    if row.key == "bonafide":
        soundfile.write(path, waveform, 16_000)
END
for n in 1 2; do nas corpus build -q --bonafide speech --attacks griffin_lim --workers 1 -o C & done; wait
wc -l C/manifest.csv""",
    ),
    "32_terminal_escape_in_attack": Case(says=(r"worst attack \\x1b\]0;pwn\\x07A",), never=(r"[\x07\x1b]",)),
    "31_flac_bomb": Case(says=(r"bomb\.flac: the audio lasts 50331\.6 s \(13\.98 h\).*limit of 3600 s",), code=2),
    "34_cache_temporary_left": Case(
        says=(r"\n?\['waveforms-[0-9a-f]{16}\.nas'\]",),
        command="""python - <<'END'
import numpy, os, soundfile
from pathlib import Path
flac, lines = Path("LA/ASVspoof2019_LA_train/flac"), []
flac.mkdir(parents=True)
soundfile.write("source.flac", numpy.random.default_rng(0).normal(0, 0.1, 480_000), 16_000)
for number in range(400):
    os.link("source.flac", flac / f"LA_T_{number:07d}.flac")
    lines.append(f"LA_0001 LA_T_{number:07d} - " + ("- bonafide" if number % 2 else "A01 spoof"))
protocols = Path("LA/ASVspoof2019_LA_cm_protocols")
protocols.mkdir()
(protocols / "ASVspoof2019.LA.cm.train.trn.txt").write_text("\\n".join(lines) + "\\n")
END
mkdir cache; python kill.py LA cache""",
    ),
    "37_recipe_sexagesimal_float": Case(says=(r"r\.yaml:1: .*learning_rate",), code=2),
    "38_recipe_negative_hex": Case(says=(r"r\.yaml:1: .*batch_size",), code=2),
    "02_genotype_merge_bomb": Case(
        says=(r"bomb\.yaml: genotype, line 2: .*merge keys",), code=2, command="timeout 60 nas show bomb.yaml"
    ),
    "08_so_cache_damaged": Case(
        says=(r"whole 0\n", r"cut short 0\n", r"emptied 0\n", r"\b[3-9]\d{4} .*passes-float"),
        never=("135", r"\s0 \w+ +\d+ [\d:]+ .*passes-"),
        command="sh run.sh",
    ),
    "18_cache_home_empty": Case(
        says=(r"^o\n$",),
        command="XDG_CACHE_HOME= nas search raw_pcdarts/toy search.epochs=1 search.warmup_epochs=0 data.samples=1000 "
        "-q -o o > /dev/null 2>&1 && rm README.txt && ls",
    ),
    "20_zip_bomb_pth": Case(
        says=(r"bomb\.pth holds compressed entries",),
        code=2,
        command="python make.py bomb.pth && "
        "python -c \"import soundfile; soundfile.write('x.flac', [0.1] * 16000, 16000)\""
        " && (ulimit -v 8000000; nas score x.flac --weights bomb.pth --model aasist-l)",
    ),
    "21_corpus_recipe": Case(
        says=(
            r"laughs\.yaml:2: holds more than 20,000 values",
            r"deep\.yaml:1: nested more than",
            r"date\.yaml:1: seed must be",
            r"attacks\.yaml:1: attacks must be a list of names",
        ),
        code=2,
        command="for x in laughs deep date attacks; do timeout 60 nas corpus build -b speech -o C --recipe $x.yaml "
        "--workers 0; done",
    ),
    "36_no_home_no_passwd_entry": Case(
        says=(r"^(None|<CDLL.*>)\n$",),
        command='env -u HOME XDG_CACHE_HOME=PATH python -c "import os, torch; from nas.supernet import native; '
        'os.setgroups([]); os.setuid(54321); print(native.load_passes(torch.float32))"',
        needs=("setpriv",),
    ),
    "13_scores_that_cannot_be_read": Case(
        says=(r"a\.txt written", r"same names apart", r"1 of 3 files could not"),
        code=None,
        command=f"""{TRAINED}; mkdir f a b
python -c "import numpy, soundfile
for n in ('f/my call', 'f/two', 'a/x', 'b/x'): soundfile.write(n + '.flac', numpy.random.randn(8000) / 20, 16000)"
echo damaged > f/bad.flac
nas score f --run RUN -o a.txt; [ $(wc -l < a.txt) = 2 ] && echo a.txt written
nas score a/x.flac b/x.flac --run RUN -o b.txt
[ $(cut -d' ' -f1 b.txt | sort -u | wc -l) = 2 ] && echo same names apart""",
    ),
    "14_weights_of_another_type": Case(
        says=(
            r"(?s)(best\.safetensors does not hold the weights of this network: \S+ is of type bool.*){2}",
            "is of type",
        ),
        code=2,
        command=f"{TRAINED}; python make.py RUN; nas evaluate RUN -q; "
        "python -c \"import soundfile; soundfile.write('x.flac', [0.1] * 16000, 16000)\"; nas score x.flac --run RUN; "
        "nas finetune raw_pcdarts/toy --weights RUN -o F -q",
    ),
    "15_resume_checkpoint_without_moments": Case(
        says=(r"the checkpoint does not fit the recipe of this run: it lacks optimizer/network/\d+/exp_avg",),
        code=2,
        command=f"""{TRAINING} train.epochs=40 train.schedule=constant -o RUN -q > /dev/null 2>&1 &
until grep -q 'epoch 2/' RUN/log.txt 2> /dev/null; do sleep 0.2; done; kill -TERM $!; wait
python make.py RUN; nas resume RUN -q""",
    ),
    "16_history_row_cut_short": Case(
        says=(r"S2/history\.csv, line \d+: \d+ values, where the header names \d+",),
        code=2,
        command="nas search raw_pcdarts/toy search.epochs=2 data.samples=1000 engine.pictures=0 -o S1 -q > log 2>&1; "
        "cp -r S1 S2; python -c \"from pathlib import Path; p = Path('S2/history.csv'); "
        "p.write_text(p.read_text().rstrip().rpartition(',')[0])\"; nas compare S1 S2",
    ),
    "19_killed_before_first_checkpoint": Case(
        says=("finished: epoch 1 is the best",),
        command=f"""{TRAINING} train.epochs=1 -o RUN -q > /dev/null 2>&1 &
until [ -e RUN/environment.json ]; do :; done; kill -9 $!; wait 2> /dev/null; rm -f RUN/checkpoints/resume*
nas resume RUN -q""",
    ),
    "35_output_name_not_utf8": Case(
        says=(r"cannot write \\udcff: the name is not UTF-8 text", "nothing written"),
        code=None,
        command="""nas search raw_pcdarts/toy -q -o "$(printf "\\377")"; echo $?
[ -e "$(printf "\\377")" ] || echo nothing written""",
    ),
    "39_thread_traceback_on_full_disk": Case(
        says=(r"^nas: cannot write (to )?t/out.*No space left on device[^\n]*\n$",),
        code=2,
        command="""mkdir t && mount -t tmpfs -o size=1m tmpfs t && trap 'umount t' EXIT
nas search raw_pcdarts/toy search.epochs=2 search.warmup_epochs=1 data.samples=1000 data.subset=16 -q -o t/out \\
    2>&1 > /dev/null | grep -v '^\\(search\\|[0-9]* utterances\\|epoch\\)'; exit ${PIPESTATUS[0]}""",
    ),
}
