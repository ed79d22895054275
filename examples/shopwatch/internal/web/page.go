package web

import "time"

// Page is everything that the status page shows. All fields are optional: an
// empty one appears as "nothing yet", so that a page can be made at any moment
// of the service's life. The handler only reads what it is given.
type Page struct {
	Service   Service
	User      string     // who is logged in; empty where nobody has to
	Now       time.Time  // when the data was gathered; zero means the time of rendering
	Checks    []Check    // health of each block, in the order to show
	Tor       Tor        // how requests leave the machine
	Runs      []Run      // newest first
	Items     []Item     // in any order; the page puts the latest change first
	Exits     []Exit     // most recently used first
	Agents    []Agent    // most used first
	Log       Log        // the log file and its shipping
	Receivers []Receiver // where notifications go
	Caught    []Caught   // what the demo receivers hold, newest first; nil where there are none
	Config    []Setting  // in the order to show
}

// Service says what runs, and since when.
type Service struct {
	Name    string    // shown as the page's title; "service" where empty
	Version string    // as built, for example "v0.1.0"
	Profile string    // configuration profile, for example "dev"
	Address string    // base address, for example "http://127.0.0.1:8080"
	Started time.Time // the page shows the time since
}

// State is how a part of the service fares.
type State string

// The states of a [Check] and of [Tor].
const (
	OK       State = "ok"       // works
	Degraded State = "degraded" // works with a limitation that the detail names
	Failed   State = "failed"   // does not work
	Off      State = "off"      // switched off on purpose
	Starting State = "starting" // not ready yet
)

// Check is the health of one block.
type Check struct {
	Name   string // for example "notify"
	State  State  // an empty state shows as unknown
	Detail string // what was found, in a sentence
	Advice string // what to do about it; empty where there is nothing to do
}

// Tor tells how requests leave the machine.
type Tor struct {
	State       State  // OK where requests go through Tor, Off where they leave directly
	Local       bool   // what is fetched is on this machine, so that nobody sees its address
	Required    bool   // fail closed: nothing leaves where Tor is missing
	Reason      string // why it is on or off, in a sentence
	Egress      string // for example "SOCKS 127.0.0.1:9050" or "direct"
	RotateEvery int    // requests per identity; 0 where identities don't change
	Identities  int64  // identities used since the start
	Requests    int64  // requests since the start
}

// RunState is the stage that a [Run] is in.
type RunState string

// The stages of a run.
const (
	RunWaiting RunState = "waiting" // asked for, not begun
	RunRunning RunState = "running" // under way
	RunDone    RunState = "done"    // ended well
	RunFailed  RunState = "failed"  // ended with an error
	RunStopped RunState = "stopped" // cut short by a shutdown
)

// Run is one pass over the site.
type Run struct {
	ID         string
	Trigger    string // for example "schedule" or "request"
	State      RunState
	Started    time.Time
	Finished   time.Time // zero while it is under way
	PagesDone  int
	PagesTotal int    // known so far; 0 while unknown
	Current    string // address of the page being fetched; empty when none is
	Bytes      int64  // received
	Items      int    // items found
	Changes    int    // prices that differ from the run before
	Gone       int    // items that disappeared
	Failures   int    // pages that could not be fetched or read
	Error      string // why it failed, in a sentence
}

// Item is a thing on sale and the prices it had.
type Item struct {
	ID       string // stable and unique
	Name     string
	Category string
	URL      string // linked where it is http or https
	Currency string // ISO 4217 code, for example "EUR"
	Gone     bool   // no longer on the site
	History  []Price
}

// Price is what an item cost from Time on. A history is sorted by time, the
// oldest first; equal neighbours are drawn as one step.
type Price struct {
	Time  time.Time
	Cents int64 // hundredths of the currency
}

// Exit is an address that requests left from.
type Exit struct {
	Address  string // as the other side sees it, or "direct" or "unknown"
	Identity string // short name of the identity that used it
	Requests int64
	Last     time.Time
	Current  bool // in use now
}

// Agent is a user agent that requests carried.
type Agent struct {
	Name     string // the header's value
	Requests int64
	Last     time.Time
}

// Log counts the lines of the service's log on their way to the receiver.
// Written = Shipped + Waiting + Dropped + Quarantined, as far as counted.
type Log struct {
	Path        string // of the active file
	Sink        string // where lines are shipped to, without secrets; empty where they stay
	Written     int64
	Shipped     int64 // accepted by the receiver
	Waiting     int64 // on disk, to be shipped
	Dropped     int64 // lost to a full disk or to the quota
	Quarantined int64 // refused by the receiver for good, kept in a file
	Retries     int64
	LastShipped time.Time
	LastError   string
	Received    *Received // what the embedded receiver counted; nil where there is none
}

// Received is what the embedded log receiver counted.
type Received struct {
	Batches int64
	Events  int64 // events with an id not seen before
	Repeats int64 // events that had arrived before
	Last    []Line
}

// Line is one log line as the receiver got it, newest first.
type Line struct {
	Time    time.Time
	Level   string
	Message string
	Detail  string // the other attributes, as text
}

// Receiver is a place that notifications go to.
type Receiver struct {
	Name      string // for example "ops-mail"
	Kind      string // for example "email" or "slack"
	Target    string // without secrets
	Sent      int64
	Waiting   int64
	Failed    int64
	LastSent  time.Time
	LastError string
}

// Caught is one message that a demo receiver holds.
type Caught struct {
	Kind    CaughtKind
	ID      string // unique; keeps an opened message open while the page refreshes
	Time    time.Time
	From    string
	To      string // recipients, or the channel
	Subject string // for Slack the first line
	Text    string // as sent; shown as text, never as markup
}

// CaughtKind says which receiver caught a message.
type CaughtKind string

// The kinds of caught messages.
const (
	Mail  CaughtKind = "mail"
	Slack CaughtKind = "slack"
)

// Setting is one configuration key with its origin.
type Setting struct {
	Key      string   // for example "scrape.rotate_every"
	Value    string   // ignored where Secret is set
	Secret   bool     // shows as set or not set, never the value
	Set      bool     // a secret has a value
	Origin   string   // for example "config/config.yaml:12:17" or "env APP_MODE"
	Overrode []string // origins that this one won over
	Doc      string   // what the key does
}
