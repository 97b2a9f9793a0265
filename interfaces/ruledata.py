"""A filter's own data for each policy rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from zope.interface import taggedValue

from fwx.interfaces.com import IUnknown, Out
from fwx.interfaces.hresult import HRESULT

if TYPE_CHECKING:
    from fwx.interfaces.admin import IFPCPolicyRule


class IFWXPerRuleDataplugin(IUnknown):
    """One rule's data, in a form private to the filter. Events carry it in ``PerRuleProcessedData`` (B7.13). The SDK
    does not say who implements it; here it is implemented by a filter, which defines the data.
    """

    taggedValue("iid", UUID("0AEBE414-54A2-4771-8FEE-CADEC3E7A093"))

    def CompareRulesData(pProcessedRulesData: IFWXPerRuleDataplugin) -> HRESULT | None:
        """Tell whether another object holds the same data. Called by the service to see whether a rule has changed
        (B7.14); when exactly is not specified. Here it is called when rules change, on what ``PrepareRulesData`` has
        just made of a rule; where that holds the same, the events go on with the object that they have carried.

        :param pProcessedRulesData: the object made earlier, for the rule of the same name.
        :returns: ``S_OK`` (or ``None``), the same; ``S_FALSE``, different. Both are successes.
        :raises COMError: the comparison failed. Here it is a fault of the filter, and the data counts as different.
        """


class IFWXPerRuleData(IUnknown):
    """Makes a filter's data of a rule ready for use (B7.12). Optional, on the filter object; the SDK does not say who
    has it, here it is implemented by a filter and had by ``QueryInterface``.
    """

    taggedValue("iid", UUID("C940ACC0-6271-4B90-9128-5894D86415D5"))

    def PrepareRulesData(
        pPolicyRule: IFPCPolicyRule,
    ) -> Annotated[IFWXPerRuleDataplugin, Out("ProcessedRulesData")]:
        """Make the data of one rule. Called by the service when it starts and when rules change (B7.12), once for each
        rule, in their order.

        Here it comes when this filter's ``FilterInit`` has returned, for every rule but the last, which is built in and
        shows nothing to filters.

        :param pPolicyRule: the rule, which does not change.
        :returns: *ProcessedRulesData*, which the service keeps. Here ``None`` says that this rule has no data.
        :raises COMError: the data could not be made; the SDK names no code. Here the filter is *failed* as after a
            failing ``FilterInit`` when the service starts; a change of the rules does not come about, and who applies
            it is told.
        """
