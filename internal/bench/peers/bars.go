package main

import "fmt"

// bar is what a figure of ours has to reach.
type bar struct {
	what         string // in words
	folder, name string // of the comparison
	unit         string
	ours, peer   string // implementations; without a peer the figure is absolute
	most, least  float64
}

// bars are all that we hold ourselves to, whoever may have set them.
var bars = []bar{
	{what: "reading a setting, ns", folder: "config", name: "Get", unit: "cpu-ns/op", ours: "ours", most: 2},
	{what: "reading a setting, allocations", folder: "config", name: "Get", unit: "allocs/op", ours: "ours"},
	{what: "loading 105 keys of YAML, time", folder: "config", name: "Load/format=yaml", unit: "cpu-ns/op", ours: "ours", peer: "koanf", most: 1},
	{what: "loading 105 keys of YAML, allocations", folder: "config", name: "Load/format=yaml", unit: "allocs/op", ours: "ours", peer: "koanf", most: 1},
	{what: "loading 105 keys of JSON, time", folder: "config", name: "Load/format=json", unit: "cpu-ns/op", ours: "ours", peer: "koanf", most: 1},
	{what: "loading 105 keys of JSON, allocations", folder: "config", name: "Load/format=json", unit: "allocs/op", ours: "ours", peer: "koanf", most: 1},

	{what: "a record, time", folder: "logging", name: "Record/to=discard", unit: "cpu-ns/op", ours: "ours", peer: "slog", most: 0.8},
	{what: "a record, allocations", folder: "logging", name: "Record/to=discard", unit: "allocs/op", ours: "ours"},
	{what: "a record to a file, time", folder: "logging", name: "Record/to=file", unit: "cpu-ns/op", ours: "ours", peer: "slog", most: 0.9},
	{what: "a record to a file, allocations", folder: "logging", name: "Record/to=file", unit: "allocs/op", ours: "ours"},
	{what: "a record with level, redaction and sampling, time", folder: "logging", name: "RecordFeatures", unit: "cpu-ns/op", ours: "ours", peer: "slog", most: 1.15},
	{what: "a record with level, redaction and sampling, allocations", folder: "logging", name: "RecordFeatures", unit: "allocs/op", ours: "ours"},
	{what: "shipping, events per CPU-second", folder: "logging", name: "Ship", unit: "events/cpu-s", ours: "ours", peer: "syslog-ng", least: 8},
	{what: "shipping with gzip, events per CPU-second", folder: "logging", name: "Ship", unit: "events/cpu-s", ours: "ours-gzip", peer: "syslog-ng", least: 2},
	{what: "shipping, memory in MiB", folder: "logging", name: "Ship", unit: "peak-MiB", ours: "ours", most: 40},
	{what: "shipping with gzip, memory in MiB", folder: "logging", name: "Ship", unit: "peak-MiB", ours: "ours-gzip", most: 40},
	{what: "the slowest in 1,000 log calls while the receiver stalls, ns", folder: "logging", name: "StalledReceiver", unit: "p99.9-ns", ours: "ours", most: 1e6},

	{what: "mails in plain text, rate", folder: "notify", name: "Mail/over=plain", unit: "mails/s", ours: "ours", peer: "nikoksr", least: 1.5},
	{what: "mails over STARTTLS, rate", folder: "notify", name: "Mail/over=starttls", unit: "mails/s", ours: "ours", peer: "nikoksr", least: 15},
	{what: "mails over STARTTLS and 20 ms, rate", folder: "notify", name: "Mail/over=starttls-20ms", unit: "mails/s", ours: "ours", peer: "nikoksr", least: 15},
	{what: "connections for 500 mails", folder: "notify", name: "Mail/over=starttls", unit: "conns/op", ours: "ours", most: 8},
	{what: "mails in plain text, rate", folder: "notify", name: "Mail/over=plain", unit: "mails/s", ours: "ours", peer: "raw-pipelined-4", least: 0.6},
	{what: "mails over STARTTLS, rate", folder: "notify", name: "Mail/over=starttls", unit: "mails/s", ours: "ours", peer: "raw-pipelined-4", least: 0.6},
	{what: "mails over STARTTLS and 20 ms, rate", folder: "notify", name: "Mail/over=starttls-20ms", unit: "mails/s", ours: "ours", peer: "raw-pipelined-4", least: 0.6},
	{what: "a suppressed repeat, ns", folder: "notify", name: "Repeat", unit: "cpu-ns/op", ours: "ours", most: 1000},
	{what: "a suppressed repeat, allocations", folder: "notify", name: "Repeat", unit: "allocs/op", ours: "ours", most: 1},
	{what: "durable messages of 1 caller, rate", folder: "notify", name: "DurableSend/writers=1", unit: "messages/s", ours: "ours", peer: "append-fsync", least: 0.8},
	{what: "durable messages of 16 callers, rate", folder: "notify", name: "DurableSend/writers=16", unit: "messages/s", ours: "ours", peer: "append-fsync", least: 5},

	{what: "default options, 8 workers, pages per second", folder: "scrape", name: "Defaults/workers=8", unit: "pages/s", ours: "get", peer: "net-http", least: 0.95},
	{what: "default options, 32 workers, pages per second", folder: "scrape", name: "Defaults/workers=32", unit: "pages/s", ours: "get", peer: "net-http", least: 0.95},
	{what: "default options, 64 workers, pages per second", folder: "scrape", name: "Defaults/workers=64", unit: "pages/s", ours: "get", peer: "net-http", least: 0.95},
	{what: "32 workers, pages per second", folder: "scrape", name: "Pages/workers=32", unit: "pages/s", ours: "ours", peer: "net-http", least: 0.95},
	{what: "64 workers, pages per second", folder: "scrape", name: "Pages/workers=64", unit: "pages/s", ours: "ours", peer: "net-http", least: 0.95},
	{what: "32 workers, CPU time", folder: "scrape", name: "Pages/workers=32", unit: "cpu-ns/page", ours: "ours", peer: "net-http", most: 1.15},
	{what: "64 workers, CPU time", folder: "scrape", name: "Pages/workers=64", unit: "cpu-ns/page", ours: "ours", peer: "net-http", most: 1.15},
	{what: "32 workers, pages per second", folder: "scrape", name: "Pages/workers=32", unit: "pages/s", ours: "ours", peer: "colly", least: 1.2},
	{what: "64 workers, pages per second", folder: "scrape", name: "Pages/workers=64", unit: "pages/s", ours: "ours", peer: "colly", least: 1.2},
	{what: "32 workers, pages per second", folder: "scrape", name: "Pages/workers=32", unit: "pages/s", ours: "ours", peer: "scrapy", least: 40},
	{what: "64 workers, pages per second", folder: "scrape", name: "Pages/workers=64", unit: "pages/s", ours: "ours", peer: "scrapy", least: 40},
}

// limit says what the bar is.
func (b bar) limit() string {
	if b.least > 0 {
		return "≥ " + figure(b.least)
	}
	return "≤ " + figure(b.most)
}

// measure returns the figure, and false if it was not measured.
func (b bar) measure(all results) (spread, bool) {
	c := all.find(b.folder, b.name)
	if c == nil {
		return spread{}, false
	}
	ours := c.values[b.ours][b.unit]
	if b.peer == "" {
		return spreadOf(ours)
	}
	return ratio(ours, c.values[b.peer][b.unit])
}

// met reports whether the median reaches the bar.
func (b bar) met(s spread) bool {
	if b.least > 0 {
		return s.median >= b.least
	}
	return s.median <= b.most
}

// figure writes a number with two or three digits that count.
func figure(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%.3g million", v/1e6)
	case v >= 100 || v == float64(int(v)):
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v < 0.1:
		return fmt.Sprintf("%.3f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func (s spread) String() string {
	if s.least == s.most {
		return figure(s.median)
	}
	return fmt.Sprintf("%s (%s–%s)", figure(s.median), figure(s.least), figure(s.most))
}
