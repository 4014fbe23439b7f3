"""The published data sets that Data.py knows. Every statement about one has its source in `source` or beside it."""

from Classes.common.translation import Message
from Classes.dataset.presets.preset import Preset

UNKNOWN_PATIENTS = Message(
    "The patients are not published, so images of one patient can be in training and in validation. Metrics on "
    "new patients will be lower."
)

ALL_IDB = (
    "Donida Labati R, Piuri V, Scotti F. ALL-IDB: The acute lymphoblastic leukemia image database for image "
    "processing. ICIP 2011, doi 10.1109/ICIP.2011.6115881"
)

ALL_IDB1 = Preset(
    name="ALL-IDB1",
    title="ALL-IDB1",
    source=ALL_IDB,
    file_name=r"(?i)^im\d{3}_(?P<type>[01])$",
    extension=".jpg",
    positive=frozenset({"1"}),
    limits=(
        UNKNOWN_PATIENTS,
        Message(
            "The size of a picture predicts the class: 33 of the 49 positive photographs have 1712x1368 pixels, and no "
            "negative one has."
        ),
        Message("Arrows are drawn into 15 positive photographs. A model can learn the arrow instead of the cell."),
        Message(
            "The images are whole fields with several cells, not single cells. The class is that of the field: 1 means "
            "that it has at least one probable lymphoblast."
        ),
    ),
)

ALL_IDB2 = Preset(
    name="ALL-IDB2",
    title="ALL-IDB2",
    source=ALL_IDB,
    file_name=r"(?i)^im\d{3}_(?P<type>[01])$",
    extension=".tif",
    positive=frozenset({"1"}),
    limits=(
        UNKNOWN_PATIENTS,
        Message(
            "The images are cut out of the fields of ALL-IDB1, and some overlap. Do not use ALL-IDB1 to test a model "
            "that was trained on ALL-IDB2."
        ),
    ),
)

C_NMC = Preset(
    name="C-NMC",
    title="C-NMC 2019",
    source="Gupta A, Gupta R. ALL Challenge dataset of ISBI 2019 (C-NMC 2019). The Cancer Imaging Archive 2019, "
    "doi 10.7937/tcia.2019.dc64i46r",
    layouts=(frozenset({"all", "hem"}),),
    file_name=r"(?i)(?<![a-z0-9])uid[_-]h?\d+[_-]\d+[_-]\d+",
    positive=frozenset({"all"}),
    limits=(
        Message(
            "The cells are cut out, on black. A model that was trained on them is not suited to images that "
            "also show other cells or a background."
        ),
        Message(
            "Every subject has cells of one class only, so a model can learn subjects, stains or slides instead of "
            "cells. Judge it by subject."
        ),
        Message(
            "The images of the two test phases are not in class folders, so they are not used for training or "
            "validation."
        ),
    ),
)

# Published twice on Kaggle, with other names of the folders and partly other images; the third form is of copies.
FOUR_CLASS_LAYOUTS = (
    frozenset({"benign", "[malignant] early pre-b", "[malignant] pre-b", "[malignant] pro-b"}),
    frozenset({"benign", "early", "pre", "pro"}),
    frozenset({"benign", "early pre-b", "pre-b", "pro-b"}),
)

ALL_FOUR_CLASS = Preset(
    name="ALL-four-class",
    title="Four-class ALL (Taleqani Hospital)",
    source="Ghaderzadeh M et al. A fast and efficient CNN model for B-ALL diagnosis and its subtypes classification "
    "using peripheral blood smear images. Int J Intell Syst 2022, doi 10.1002/int.22753; Hosseini A et al. Informatics "
    "in Medicine Unlocked 39 (2023) 101244, doi 10.1016/j.imu.2023.101244",
    layouts=FOUR_CLASS_LAYOUTS,
    positive=frozenset().union(*FOUR_CLASS_LAYOUTS) - {"benign"},
    twins=("original", "segmented"),
    limits=(
        UNKNOWN_PATIENTS,
        Message("Color and scale bar differ between the classes, so they predict the class without a cell."),
        Message("The images are fields with one to about 40 cells, not single cells. The class is that of the field."),
    ),
)

PBC_SOURCE = (
    "Acevedo A et al. A dataset of microscopic peripheral blood cell images for development of automatic recognition "
    "systems. Data in Brief 30 (2020) 105474, doi 10.1016/j.dib.2020.105474, data doi 10.17632/snkd93bnjr.1"
)

PBC_LIMITS = (
    UNKNOWN_PATIENTS,
    Message("All images are from one laboratory, one stain and one scanner (CellaVision DM96, Barcelona)."),
    Message("The cells are from people without a blood disease. A model trained on them cannot detect one."),
)

PBC = Preset(
    name="PBC",
    title="PBC (Barcelona)",
    source=PBC_SOURCE,
    layouts=(frozenset({"basophil", "eosinophil", "lymphocyte", "monocyte", "neutrophil"}),),
    optional=frozenset({"erythroblast", "ig", "platelet"}),
    file_name=r"^(BA|BNE|EO|ERB|IG|LY|MMY|MO|MY|NEUTROPHIL|PLATELET|PMY|SNE)_\d+",
    limits=PBC_LIMITS,
)

PBC_FINE = Preset(
    name="PBC-fine",
    title="PBC (Barcelona), types in the file names",
    source=PBC_SOURCE,
    file_name=r"^(?P<type>BA|BNE|EO|ERB|IG|LY|MMY|MO|MY|NEUTROPHIL|PLATELET|PMY|SNE)_\d+",
    # NEUTROPHIL and IG are neutrophils and immature granulocytes whose type was not determined.
    classes=("BA", "BNE", "EO", "ERB", "LY", "MMY", "MO", "MY", "PLATELET", "PMY", "SNE"),
    groups={"immature granulocyte": ("MMY", "MY", "PMY"), "neutrophil": ("BNE", "SNE")},
    limits=PBC_LIMITS,
    automatic=False,
)

MUNICH_CODES = {
    "BAS", "EBO", "EOS", "KSC", "LYA", "LYT", "MMZ", "MOB", "MON", "MYB", "MYO", "NGB", "NGS", "PMB", "PMO",
}  # fmt: skip

MUNICH = Preset(
    name="AML-Munich",
    title="AML-Cytomorphology (LMU Munich)",
    source="Matek C, Schwarz S, Marr C, Spiekermann K. A single-cell morphological dataset of leukocytes from AML "
    "patients and non-malignant controls. The Cancer Imaging Archive 2019, doi 10.7937/tcia.2019.36f5o9ld; Matek C et "
    "al. Nature Machine Intelligence 1 (2019) 538, doi 10.1038/s42256-019-0101-9",
    layouts=(frozenset({"lyt", "mon", "myo", "ngs"}),),
    optional=frozenset(code.casefold() for code in MUNICH_CODES),
    file_name=r"^[A-Z]{3}_\d{4}",
    # Myeloblasts and monoblasts, the blasts of the publication.
    positive=frozenset({"myo", "mob"}),
    groups={"neutrophil": ("NGB", "NGS"), "promyelocyte": ("PMB", "PMO"), "lymphocyte": ("LYA", "LYT")},
    condition="AML",
    limits=(
        Message(
            "The images are of 100 patients with AML and 100 without, but which image is of which patient is not "
            "published. Images of one patient can be in training and in validation, so metrics on new patients "
            "will be lower."
        ),
        Message("The classes are types of cells. A positive result means a blast, not a patient with AML."),
        Message("Several classes have fewer than 100 images. Look at the metrics of each class."),
        Message("All images are from one laboratory and one scanner (M8, 100-fold, oil immersion)."),
    ),
)

PRESETS = (ALL_IDB1, ALL_IDB2, C_NMC, ALL_FOUR_CLASS, PBC, PBC_FINE, MUNICH)

NAMES = tuple(preset.name for preset in PRESETS)
