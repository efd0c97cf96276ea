"""Who calls, and what they may do: certificates, tokens, roles, quotas. All from files that may change meanwhile."""
