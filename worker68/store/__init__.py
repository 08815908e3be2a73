"""SQL, the truth about every job. Modules of verbs; each public verb owns its transaction."""
