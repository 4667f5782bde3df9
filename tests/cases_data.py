"""What the cases of cases/data must do (see case_runner.py)."""

from case_runner import Case

CASES: dict[str, Case] = {
    "audio_folder_skips": Case(says=(r"a\.wav", r"b\.opus", r"c\.aiff")),
    "audio_m4a_message": Case(says=("AAC", r"ffmpeg -i x\.m4a x\.wav"), code=2),
    "audio_mp3_vbr_without_header": Case(says=(r"7[23],?\d{3} samples",)),
    "audio_one_bad_loses_all": Case(says=(r"scores: s\.txt", r"f/b\.wav: unreadable", "1 of 2 files could not")),
    "audio_opposite_channels": Case(says=("channels cancel", r"x\.wav -?\d")),
    "audio_truncated_rf64": Case(says=("cut short",), code=2),
    "audio_truncated_wavex": Case(says=("cut short",), code=2),
    "names_score_same_stem": Case(says=("^x/1 |\nx/1 ", "1 bona fide and 1 spoofed")),
}
