package notify

import (
	"log/slog"
	"slices"
	"time"
)

// record is one change of what waits or of what was told.
type record struct {
	// Op is "put": a message waits for receivers; "retry": a try failed; "done":
	// a receiver got a message or never will; "entry": what a receiver was told
	// of a key; "more": how many messages Rate holds without their text.
	Op       string       `json:"op"`
	ID       string       `json:"id,omitempty"`
	Service  string       `json:"service,omitempty"`
	Message  *wireMessage `json:"message,omitempty"`
	Targets  []wireTarget `json:"targets,omitempty"`
	Since    time.Time    `json:"since,omitzero"`
	Receiver string       `json:"receiver,omitempty"`
	Entry    *wireEntry   `json:"entry,omitempty"`
	Count    int          `json:"count,omitempty"`
}

// wireTarget is a receiver that has not got the message.
type wireTarget struct {
	Receiver string    `json:"receiver"`
	Attempts int       `json:"attempts,omitempty"`
	Due      time.Time `json:"due,omitzero"`
	Only     []string  `json:"only,omitempty"`
	Via      []string  `json:"via,omitempty"`
	Held     bool      `json:"held,omitempty"`
	End      bool      `json:"end,omitempty"`
	Shared   bool      `json:"shared,omitempty"`
	// Instead are the IDs of messages that this one stands for.
	Instead []string `json:"instead,omitempty"`
	// Entries are what the ledger says with this message under way.
	Entries []*wireEntry `json:"entries,omitempty"`
}

// wireEntry is an entry of a ledger.
type wireEntry struct {
	Key       string       `json:"key"`
	Keyed     bool         `json:"keyed,omitempty"`
	Open      bool         `json:"open,omitempty"`
	Level     slog.Level   `json:"level"`
	First     time.Time    `json:"first,omitzero"`
	Last      time.Time    `json:"last,omitzero"`
	Seen      time.Time    `json:"seen,omitzero"`
	Total     int          `json:"total,omitempty"`
	Fresh     int          `json:"fresh,omitempty"`
	Sample    *wireMessage `json:"sample,omitempty"`
	Recent    *wireMessage `json:"recent,omitempty"`
	Closing   *wireMessage `json:"closing,omitempty"`
	Differ    differences  `json:"differ,omitzero"`
	Said      state        `json:"said,omitempty"`
	SaidLevel slog.Level   `json:"said_level"`
	Heard     bool         `json:"heard,omitempty"`
	Thread    string       `json:"thread,omitempty"`
	Place     string       `json:"place,omitempty"`
	Base      time.Time    `json:"base,omitzero"`
	Words     int          `json:"words,omitempty"`
	Ended     bool         `json:"ended,omitempty"`
	Muted     bool         `json:"muted,omitempty"`
	Doubt     bool         `json:"doubt,omitempty"`
	Shared    bool         `json:"shared,omitempty"`
}

// wireMessage is a Message in the journal.
type wireMessage struct {
	Level       slog.Level   `json:"level"`
	Subject     string       `json:"subject,omitempty"`
	Text        string       `json:"text,omitempty"`
	HTML        string       `json:"html,omitempty"`
	Key         string       `json:"key,omitempty"`
	Fields      []Field      `json:"fields,omitempty"`
	Attachments []Attachment `json:"attachments,omitempty"`
	Time        time.Time    `json:"time,omitzero"`
	Resolved    bool         `json:"resolved,omitempty"`
	Count       int          `json:"count,omitempty"`
	New         int          `json:"new,omitempty"`
	First       time.Time    `json:"first,omitzero"`
	Last        time.Time    `json:"last,omitzero"`
	Thread      string       `json:"thread,omitempty"`
	Source      string       `json:"source,omitempty"`
}

func toWire(m *Message) *wireMessage {
	return &wireMessage{
		Level: m.Level, Subject: m.Subject, Text: m.Text, HTML: m.HTML, Key: m.Key, Fields: m.Fields(),
		Attachments: m.Attachments, Time: m.Time, Resolved: m.Resolved, Count: m.Count, New: m.New, First: m.First,
		Last: m.Last, Thread: m.Thread, Source: m.Source,
	}
}

func (w *wireMessage) message(id string) *Message {
	if w == nil {
		return &Message{}
	}
	m := &Message{
		ID: id, Level: w.Level, Subject: w.Subject, Text: w.Text, HTML: w.HTML, Key: w.Key,
		Attachments: w.Attachments, Time: w.Time, Resolved: w.Resolved, Count: w.Count, New: w.New, First: w.First,
		Last: w.Last, Thread: w.Thread, Source: w.Source,
	}
	for _, f := range w.Fields {
		m.Attrs = append(m.Attrs, slog.String(f.Name, f.Value))
	}
	return m
}

// target is a receiver, and what is about it: a message or a key.
type target struct{ receiver, what string }

// parcel is a message that waits for one receiver.
type parcel struct {
	id      string
	service string
	message *wireMessage
	since   time.Time
	wireTarget
}

// told is an entry of the ledger of one receiver.
type told struct {
	service string
	entry   *wireEntry
}

// replay works out what a journal says still waits and was told.
type replay struct {
	parcels map[target]*parcel
	order   []target
	told    map[target]told
	more    map[string]told   // by receiver; its count is in the entry's Fresh
	texts   map[string]string // each text once: many receivers know of one trouble
	records int
}

func newReplay() *replay {
	return &replay{parcels: map[target]*parcel{}, told: map[target]told{}, more: map[string]told{}, texts: map[string]string{}}
}

// share makes texts that are equal one in memory.
func (p *replay) share(texts ...*string) {
	for _, s := range texts {
		if known, ok := p.texts[*s]; ok {
			*s = known
		} else {
			p.texts[*s] = *s
		}
	}
}

// shareEntry does so with what an entry of a ledger keeps.
func (p *replay) shareEntry(e *wireEntry) {
	p.share(&e.Key, &e.Thread)
	for _, m := range []*wireMessage{e.Sample, e.Recent, e.Closing} {
		if m != nil {
			p.share(&m.Subject, &m.Text, &m.Key, &m.Source, &m.Thread)
		}
	}
}

func (p *replay) take(r *record) {
	p.records++
	switch r.Op {
	case "put":
		if r.Message == nil || !validID(r.ID) {
			return
		}
		for _, t := range r.Targets {
			p.put(r, t)
		}
	case "entry":
		if r.Entry != nil {
			p.share(&r.Receiver, &r.Service)
			p.shareEntry(r.Entry)
			p.told[target{r.Receiver, r.Entry.Key}] = told{r.Service, r.Entry}
		}
	case "more":
		p.more[r.Receiver] = told{r.Service, &wireEntry{Fresh: r.Count}}
	case "retry":
		for _, t := range r.Targets {
			if known := p.parcels[target{t.Receiver, r.ID}]; known != nil {
				known.Attempts, known.Due, known.Only, known.Held = t.Attempts, t.Due, t.Only, t.Held
			}
		}
	case "done":
		delete(p.parcels, target{r.Receiver, r.ID})
	}
}

func (p *replay) put(r *record, t wireTarget) {
	for _, id := range t.Instead {
		delete(p.parcels, target{t.Receiver, id})
	}

	for _, e := range t.Entries {
		if e.Sample == nil {
			m := *r.Message
			m.HTML, m.Attachments = "", nil
			e.Sample = &m
		}
		p.shareEntry(e)
		p.told[target{t.Receiver, e.Key}] = told{r.Service, e}
	}

	key := target{t.Receiver, r.ID}
	if p.parcels[key] == nil {
		p.order = append(p.order, key)
		p.parcels[key] = &parcel{id: r.ID, service: r.Service, message: r.Message, since: r.Since, wireTarget: t}
	}
}

// waiting returns the parcels in the order in which they were put.
func (p *replay) waiting() []*parcel {
	var list []*parcel
	for _, key := range p.order {
		if one := p.parcels[key]; one != nil && !slices.Contains(list[max(0, len(list)-1):], one) {
			list = append(list, one)
		}
	}
	return list
}

// split divides what waits: that which mine takes, and the rest.
func (p *replay) split(mine func(service, receiver string) bool) (taken, rest *replay) {
	taken, rest = newReplay(), newReplay()
	pick := func(service, receiver string) *replay {
		if mine(service, receiver) {
			return taken
		}
		return rest
	}

	for _, one := range p.waiting() {
		to := pick(one.service, one.Receiver)
		key := target{one.Receiver, one.id}
		to.parcels[key], to.order = one, append(to.order, key)
	}

	for key, t := range p.told {
		pick(t.service, key.receiver).told[key] = t
	}
	for receiver, t := range p.more {
		pick(t.service, receiver).more[receiver] = t
	}
	return taken, rest
}

func (p *replay) empty() bool { return len(p.parcels)+len(p.told)+len(p.more) == 0 }

// list returns what waits and was told as records.
func (p *replay) list() []*record {
	var list []*record
	for _, one := range p.waiting() {
		list = append(list, &record{Op: "put", ID: one.id, Service: one.service, Message: one.message, Since: one.since, Targets: []wireTarget{one.wireTarget}})
	}
	for key, t := range p.told {
		list = append(list, &record{Op: "entry", Receiver: key.receiver, Service: t.service, Entry: t.entry})
	}
	for receiver, t := range p.more {
		list = append(list, &record{Op: "more", Receiver: receiver, Service: t.service, Count: t.entry.Fresh})
	}
	return list
}

// notAfter mends times that a clock wrote which was ahead: a message would wait
// for them, and never be too old.
func (p *replay) notAfter(now time.Time) {
	past := func(t *time.Time) bool {
		if !t.After(now) {
			return false
		}
		*t = now
		return true
	}

	for _, one := range p.parcels {
		if past(&one.since) || one.Due.Sub(now) > maxPause {
			past(&one.Due)
		}
	}

	for _, t := range p.told {
		e := t.entry
		// Base may be ahead: a word that was sent early took the next one's place.
		if past(&e.Seen) || e.Base.Sub(now) > maxPause {
			past(&e.Base)
		}
		past(&e.First)
		past(&e.Last)
	}
}
