"""Forms of signing in, people, roles and tokens."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from allauth.account.forms import LoginForm
from django import forms
from django.contrib.auth.models import User
from django.contrib.auth.validators import UnicodeUsernameValidator
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from access import roles
from access.models import Role

TOKEN_DAYS = (7, 30, 90, 365)


class SignInForm(LoginForm):  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["login"].label = _("Username or email")
        self.fields["login"].widget.attrs = {"autocomplete": "username webauthn", "autofocus": True}
        self.fields["password"].help_text = ""
        self.fields["password"].widget.attrs.pop("placeholder", None)


class RoleChoices(forms.ModelMultipleChoiceField):  # type: ignore[type-arg]
    def label_from_instance(self, obj: Any) -> str:
        return str(obj)


class PersonForm(forms.ModelForm):  # type: ignore[type-arg]
    """A person. ``given`` are the roles that whoever fills it in may hand out; others that the person has, stay."""

    roles = RoleChoices(
        label=_("Roles"),
        queryset=Role.objects.none(),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=_("What the person may do is what all roles together allow."),
    )

    class Meta:
        model = User
        fields = ("username", "first_name", "last_name", "email")
        labels = {"email": _("Email")}
        help_texts = {
            "username": _("Letters, digits and @ . + - _ only."),
            "email": _("Invitations, new passwords and alerts go there."),
        }
        widgets = {"email": forms.EmailInput({"autocomplete": "off"})}

    def __init__(self, *args: Any, given: Iterable[Role], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["roles"]
        assert isinstance(field, RoleChoices)
        field.queryset = Role.objects.filter(pk__in=[role.pk for role in given]).order_by("name")
        if self.instance.pk:
            self.initial["roles"] = [role.pk for role in self.instance.groups.all()]
        self.fields["username"].widget.attrs |= {
            "autocomplete": "off", "autocapitalize": "none", "spellcheck": "false", "autofocus": False,
        }  # fmt: skip

    def clean_email(self) -> str:
        email: str = self.cleaned_data["email"].strip()
        others = User.objects.exclude(pk=self.instance.pk)
        if email and others.filter(email__iexact=email).exists():
            raise ValidationError(_("Somebody else has this address already."))
        return email


class ServiceAccountForm(forms.Form):
    """A service account: a name, what it is for, and its roles."""

    username = forms.CharField(
        label=_("Name"),
        max_length=150,
        validators=[UnicodeUsernameValidator()],
        help_text=_("Letters, digits and @ . + - _ only, e.g. nightly-report."),
        widget=forms.TextInput({"autocomplete": "off", "spellcheck": "false"}),
    )
    description = forms.CharField(label=_("What it is for"), max_length=255, required=False)
    roles = RoleChoices(
        label=_("Roles"),
        queryset=Role.objects.none(),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=_("Its tokens can be allowed no more than this."),
    )

    def __init__(self, *args: Any, given: Iterable[Role], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["roles"]
        assert isinstance(field, RoleChoices)
        field.queryset = Role.objects.filter(pk__in=[role.pk for role in given]).order_by("name")

    def clean_username(self) -> str:
        name: str = self.cleaned_data["username"]
        if User.objects.filter(username__iexact=name).exists():
            raise ValidationError(_("This name is taken already."))
        return name


class RoleForm(forms.Form):
    """An own role: its name and its rights, of those that whoever fills it in has."""

    name = forms.CharField(label=_("Name"), max_length=150, widget=forms.TextInput({"autocomplete": "off"}))
    rights = forms.MultipleChoiceField(
        label=_("Rights"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=_("Managing something includes seeing it."),
    )

    def __init__(self, *args: Any, rights: Iterable[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["rights"]
        assert isinstance(field, forms.MultipleChoiceField)
        field.choices = [(right, roles.RIGHTS[right]) for right in rights]

    def clean_name(self) -> str:
        return " ".join(self.cleaned_data["name"].split())


class TokenForm(forms.Form):
    """A new API token."""

    name = forms.CharField(
        label=_("Name"),
        max_length=100,
        help_text=_("Which program uses it, e.g. Grafana."),
        widget=forms.TextInput({"autocomplete": "off"}),
    )
    days = forms.TypedChoiceField(label=_("Expires"), initial=90, coerce=int)
    scopes = forms.MultipleChoiceField(
        label=_("Scopes"),
        widget=forms.CheckboxSelectMultiple,
        help_text=_("As few as the program needs. A right that its owner loses, the token loses."),
        error_messages={"required": _("Choose at least one.")},
    )

    def __init__(self, *args: Any, rights: Iterable[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["scopes"]
        assert isinstance(field, forms.MultipleChoiceField)
        field.choices = [(right, roles.RIGHTS[right]) for right in rights]
        days = self.fields["days"]
        assert isinstance(days, forms.TypedChoiceField)
        days.choices = [(n, ngettext("in %(n)d day", "in %(n)d days", n) % {"n": n}) for n in TOKEN_DAYS]

    def expires_at(self) -> Any:
        return timezone.now() + timedelta(days=self.cleaned_data["days"])
