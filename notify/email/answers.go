package email

import (
	"container/list"
	"slices"
	"sync"

	"github.com/svcblocks/svcblocks/notify"
)

// answers knows the mails that were handed over whole and whose answer is not
// known to the caller: a server that takes its time, or a connection that broke.
// Without it a caller that tries again would send one mail several times
// (RFC 5321 §4.5.3.2.6 gives the server 10 minutes "to avoid duplicates").
type answers struct {
	mu     sync.Mutex
	byID   map[string]*list.Element
	order  *list.List // of *letter, the latest in front
	closed bool
}

// letter is what is known of a message.
type letter struct {
	id string
	// doubts counts the tries whose answer never came.
	doubts int
	// last is the try whose answer is to come, or came while nobody listened.
	last *answer
}

// answer is what the server says about a mail that was handed over.
type answer struct {
	id   string
	to   []*address // whom the caller asked for
	d    delivery
	done chan struct{}
	// err is read after done is closed.
	err *notify.Error
	// listeners counts the callers that wait.
	listeners int
}

// maxLetters bounds what is remembered. Each is a hundred bytes and an ID.
const maxLetters = 1000

// maxDoubts is how often a mail is sent whose fate stays unknown.
const maxDoubts = 3

func newAnswers() *answers { return &answers{byID: map[string]*list.Element{}, order: list.New()} }

// letter returns what is known of a message, or nil. The caller holds mu.
func (as *answers) letter(id string) *letter {
	if e := as.byID[id]; e != nil {
		return e.Value.(*letter) // the list holds nothing else
	}
	return nil
}

// keep returns what is known of a message, and makes room for it. The caller
// holds mu.
func (as *answers) keep(id string) *letter {
	if l := as.letter(id); l != nil {
		return l
	}
	l := &letter{id: id}
	as.byID[id] = as.order.PushFront(l)
	for e := as.order.Back(); e != nil && as.order.Len() > maxLetters; {
		old, before := e.Value.(*letter), e.Prev()
		if old.last == nil || old.last.finished() { // one that runs stays
			as.forget(old)
		}
		e = before
	}
	return l
}

func (as *answers) forget(l *letter) {
	as.order.Remove(as.byID[l.id])
	delete(as.byID, l.id)
}

func (a *answer) finished() bool {
	select {
	case <-a.done:
		return true
	default:
		return false
	}
}

// earlier returns the try of the same message whose answer the caller does not
// know yet, if it went to everybody in to, or an error if there were too many.
func (as *answers) earlier(id string, to []*address) (*answer, *notify.Error) {
	as.mu.Lock()
	defer as.mu.Unlock()
	l := as.letter(id)
	if l == nil {
		return nil, nil
	}
	if a := l.last; a != nil && !slices.ContainsFunc(to, func(x *address) bool { return !slices.Contains(a.to, x) }) {
		a.listeners++
		return a, nil
	}
	if l.doubts >= maxDoubts {
		return nil, &notify.Error{Op: "send", Class: notify.ClassOther, Reason: "mail was sent 3 times, and each time the connection ended before the server confirmed it: it may have arrived, and is not sent again"}
	}
	return nil, nil
}

// await remembers a mail that was handed over. The caller is its first listener.
func (as *answers) await(id string, to []*address, d delivery) *answer {
	as.mu.Lock()
	defer as.mu.Unlock()
	a := &answer{id: id, to: to, d: d, done: make(chan struct{}), listeners: 1}
	as.keep(id).last = a
	return a
}

// record keeps what the server said for whoever listens now or asks later.
func (as *answers) record(a *answer, err *notify.Error, known bool) {
	as.mu.Lock()
	defer as.mu.Unlock()
	l := as.keep(a.id)
	if !known {
		l.doubts++
		err.Reason = inDoubt + err.Reason
	}
	a.err = err
	close(a.done)
	// A refusal that nobody heard is of no use: the next try gets its own.
	if a.listeners == 0 && err != nil && l.last == a {
		as.done(l)
	}
}

const inDoubt = "connection ended before the server confirmed the mail, which may arrive: "

// doubt counts a try that broke with the final dot.
func (as *answers) doubt(id string, err *notify.Error) {
	as.mu.Lock()
	defer as.mu.Unlock()
	as.keep(id).doubts++
	err.Reason = inDoubt + err.Reason
}

// leave ends the wait of a caller. heard says that it has the answer.
func (as *answers) leave(a *answer, heard bool) {
	as.mu.Lock()
	defer as.mu.Unlock()
	a.listeners--
	if l := as.letter(a.id); heard && l != nil && l.last == a {
		if a.err == nil {
			l.doubts = 0
		}
		as.done(l)
	}
	if as.closed && a.listeners == 0 {
		a.giveUp()
	}
}

// done forgets the last try of a message, and the message if no doubt is left.
func (as *answers) done(l *letter) {
	l.last = nil
	if l.doubts == 0 {
		as.forget(l)
	}
}

// giveUp ends the wait for an answer.
func (a *answer) giveUp() {
	if !a.finished() {
		_ = a.d.conn.raw.SetDeadline(past)
	}
}

// close gives up every answer that nobody waits for.
func (as *answers) close() {
	as.mu.Lock()
	defer as.mu.Unlock()
	as.closed = true
	for e := as.order.Front(); e != nil; e = e.Next() {
		if a := e.Value.(*letter).last; a != nil && a.listeners == 0 {
			a.giveUp()
		}
	}
}
