package config

import (
	"time"
)

// Stats says how current the settings are.
type Stats struct {
	// Generation counts the snapshots since Load, which made the first.
	Generation uint64
	// LoadedAt is when the current snapshot was read.
	LoadedAt time.Time
	// Err is why the last reload failed; nil when the current snapshot is what
	// the layers say. FailedAt is when.
	Err      error
	FailedAt time.Time
	// Failures counts the reloads since Load that failed.
	Failures uint64
	// Warnings are what Load found and let pass.
	Warnings []Problem
	// Watching says how Run follows files: "events", "polling", or "" while
	// Run is not on.
	Watching string
	// References lists the references in use, in order.
	References []ReferenceStatus
}

// ReferenceStatus says how current a resolved reference is.
type ReferenceStatus struct {
	// Reference is its text, such as "ref+vault://secret/data/mail#password".
	Reference string
	// Keys are the keys whose values it gives.
	Keys []string
	// ResolvedAt is when the value in use was resolved.
	ResolvedAt time.Time
	// ExpiresAt is when its lease ends; zero where it has none.
	ExpiresAt time.Time
	// Err is why it could not be resolved again; nil when the last attempt
	// worked.
	Err error
}
