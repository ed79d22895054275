package history

import (
	"time"

	"github.com/svcblocks/svcblocks/examples/internal/extract"
)

// Status is the stage of a run, or how it ended.
type Status string

// The statuses of a run.
const (
	Running     Status = "running"
	OK          Status = "ok"          // every page was fetched and read
	Partial     Status = "partial"     // some pages or items could not be fetched or read
	Failed      Status = "failed"      // no item could be read
	Stopped     Status = "stopped"     // the service was asked to stop
	Interrupted Status = "interrupted" // the process died midway
)

// Run is one pass over the site.
type Run struct {
	ID       uint64    `json:"id"`
	Trigger  string    `json:"trigger"` // start, schedule or request
	Status   Status    `json:"status"`
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished,omitzero"`
	Pages    int       `json:"pages"`           // fetched and read
	Failures int       `json:"failures"`        // pages that could not be fetched or read
	Problems int       `json:"problems"`        // items that could not be read
	Items    int       `json:"items"`           // items read, repeats included
	New      int       `json:"new"`             // of these, seen for the first time
	Changed  int       `json:"changed"`         // prices that differ from before
	Gone     int       `json:"gone"`            // items that left the site
	Bytes    int64     `json:"bytes"`           // of the pages
	Error    string    `json:"error,omitempty"` // the first failure
}

// Kind says what changed.
type Kind string

// The kinds of a change.
const (
	PriceChanged Kind = "price"
	ItemGone     Kind = "gone"
	ItemBack     Kind = "back" // seen again after it was gone
)

// Change is what a run found to differ from before.
type Change struct {
	Kind Kind          `json:"kind"`
	Run  uint64        `json:"run"`
	Time time.Time     `json:"time"`
	Name string        `json:"name"`
	URL  string        `json:"url"`
	Old  extract.Price `json:"old,omitzero"` // the last known price
	New  extract.Price `json:"new,omitzero"` // zero for ItemGone
}

// NoticeKind says what a notice tells.
type NoticeKind string

// The kinds of a notice.
const (
	ChangesFound   NoticeKind = "changes"
	RunFailed      NoticeKind = "failed"
	RunPartial     NoticeKind = "partial"
	RunInterrupted NoticeKind = "interrupted"
	RunRecovered   NoticeKind = "recovered" // the first good run after others
)

// Notice is a message that is owed to the operator.
type Notice struct {
	// ID is the same each time the notice is read.
	ID      string
	Kind    NoticeKind
	Run     Run
	Changes []Change // for ChangesFound
}

// Point is a price and since when it holds.
type Point struct {
	Time  time.Time     `json:"time"`
	Price extract.Price `json:"price"`
}

// Item is an item and its prices.
type Item struct {
	extract.Item

	FirstSeen time.Time `json:"first_seen"`
	LastSeen  time.Time `json:"last_seen"`
	Gone      time.Time `json:"gone,omitzero"` // zero while it is on the site
	Points    []Point   `json:"points"`        // oldest first
}

// itemRecord is an item in the file, at its identity.
type itemRecord struct {
	extract.Item

	FirstSeen time.Time `json:"first_seen"`
	LastSeen  time.Time `json:"last_seen"`
	LastRun   uint64    `json:"last_run"`
	Missed    int       `json:"missed,omitempty"` // complete runs since it was last seen
	Gone      time.Time `json:"gone,omitzero"`
	Points    int       `json:"points"` // how many the file holds
}

// noticeRecord is a notice in the file, at its ID.
type noticeRecord struct {
	Kind NoticeKind `json:"kind"`
	Run  uint64     `json:"run"`
}
