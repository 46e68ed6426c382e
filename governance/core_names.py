"""The labels and policies that come with the product: what the migration inserts, here so that it is translated.

Codes are AEP's. What a later version adds comes by a migration of its own.
"""

from __future__ import annotations

from django.utils.translation import gettext_noop as _

# code, kind, name, description
CORE_LABELS = (
    ("C1", "contract", _("Aggregates only"), _("May leave only in sums and counts that tell of nobody.")),
    ("C2", "contract", _("No third parties"), _("May not be given to another company.")),
    (
        "C3",
        "contract",
        _("Not with identities"),
        _("May not be joined with what directly identifies a person."),
    ),
    ("C4", "contract", _("No targeting"), _("May not decide which ads or content somebody sees, anywhere.")),
    (
        "C5",
        "contract",
        _("No targeting across sites"),
        _("May not decide which ads somebody sees on other sites."),
    ),
    (
        "C6",
        "contract",
        _("No ads on own sites"),
        _("May not decide which ads somebody sees on own sites and apps."),
    ),
    (
        "C7",
        "contract",
        _("No personal content"),
        _("May not decide which content somebody sees on own sites."),
    ),
    ("C8", "contract", _("No measuring"), _("May not be used to measure own sites and apps.")),
    ("C9", "contract", _("No data science"), _("May not be used to train or run models.")),
    (
        "C10",
        "contract",
        _("No linked identities"),
        _("May not be used where identities of a person are linked."),
    ),
    ("C11", "contract", _("No segment match"), _("May not be used to share segments with partners.")),
    ("C12", "contract", _("No export"), _("May not leave at all.")),
    (
        "I1",
        "identity",
        _("Directly identifiable"),
        _("Names or reaches a person: an address, a phone number."),
    ),
    ("I2", "identity", _("Indirectly identifiable"), _("Names a person only together with other data.")),
    ("S1", "sensitive", _("Exact place"), _("Says where somebody is to within some hundred metres.")),
    ("S2", "sensitive", _("Rough place"), _("Says in which town or district somebody is.")),
    ("RHD", "sensitive", _("Health data"), _("Is about somebody's health and regulated by law.")),
    ("PSPD", "sensitive", _("Possibly sensitive"), _("Beliefs, origin or the like could be read from it.")),
)

# name, description, condition, marketing actions
CORE_POLICIES = (
    (
        _("No export of aggregates-only data"),
        _("Data that may leave only in sums is not sent to others as records of single people."),
        {"any": ["C1"]},
        ("Export to Third Party",),
    ),
    (
        _("No export to third parties"),
        _("Data that was bought or shared under a contract stays with us."),
        {"any": ["C2"]},
        ("Export to Third Party",),
    ),
    (
        _("No joining with identities"),
        _("Data that must not be tied to a person is not sent together with what identifies one."),
        {"all": ["C3", "I1"]},
        ("Combine with Directly Identifiable Data",),
    ),
    (
        _("No targeting"),
        _("Data that must not choose ads or content does not choose any."),
        {"any": ["C4"]},
        (
            "Cross Site Targeting",
            "Email Targeting",
            "Onsite Advertising",
            "Onsite Personalization",
            "Single Identity Personalization",
        ),
    ),
    (
        _("No targeting across sites"),
        _("What is known from one site does not choose ads on another."),
        {"any": ["C5"]},
        ("Cross Site Targeting",),
    ),
    (
        _("No ads on own sites"),
        _("Data that must not choose ads does not choose those on own sites."),
        {"any": ["C6"]},
        ("Onsite Advertising",),
    ),
    (
        _("No personal content"),
        _("Data that must not choose content does not choose that of own sites."),
        {"any": ["C7"]},
        ("Onsite Personalization",),
    ),
    (
        _("No measuring"),
        _("Data that must not measure sites and apps does not reach analytics."),
        {"any": ["C8"]},
        ("Analytics",),
    ),
    (
        _("No data science"),
        _("Data that must not train models does not reach those who do."),
        {"any": ["C9"]},
        ("Data Science",),
    ),
    (
        _("No personalization by linked identities"),
        _("Data of linked identities does not personalize for a single one."),
        {"any": ["C10"]},
        ("Single Identity Personalization",),
    ),
    (
        _("No segment match"),
        _("Data that must not be shared with partners is not matched with theirs."),
        {"any": ["C11"]},
        ("Segment Match",),
    ),
    (
        _("No sensitive data to third parties"),
        _("Health, exact places and the like are not given to another company."),
        {"any": ["C12", "S1", "RHD", "PSPD"]},
        ("Export to Third Party", "Cross Site Targeting"),
    ),
)
