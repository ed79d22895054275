package logging

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/svcblocks/svcblocks/internal/backoff"
	"github.com/svcblocks/svcblocks/internal/filelock"
	"github.com/svcblocks/svcblocks/logging/internal/queue"
)

// delivery ships one queue. Poison, an event that the receiver will never take,
// and a receiver that takes nothing, because of a wrong address or token, look
// alike from one answer. They are told apart by evidence:
//
//   - An event that was refused by itself is set aside only when the receiver
//     took another one after it.
//   - A refused request of several events is taken apart only as long as the
//     receiver takes something: the newest event of the queue is tried first.
//   - While it takes nothing, one event is tried per backoff, and all else
//     waits.
//
// Its fields are used with the shipper's turn and the queue's.
type delivery struct {
	s     *Shipper
	queue queue.Queue
	out   *queue.Writer
	size  int // of the next batch: lowered by 413
	batch batch
	probe batch
	file  *queue.Reader // the segment under way, locked
	open  queue.Segment // that

	tidy     sync.Once
	token    chan struct{} // held while a goroutine of this process is at it
	turn     *queue.Turn
	work     map[string]*work // by sequence of segment
	all      []queue.Segment  // that are there
	segments []queue.Segment  // of them, those of this pass
	failures int              // requests in a row
	evidence evidence
	aside    quarantine
	patience time.Duration // left in this pass, for segments that others hold
	unsure   error         // why events wait that were refused
	full     error         // why poison cannot be set aside
	retry    time.Time     // when to try again after a failure; under s.mu
	state    queue.State
	poison   int64 // events set aside
	blocked  blocked
}

const (
	// firstProbes is how many events are tried at once when a request was
	// refused: the newest, the oldest, and one in between.
	firstProbes = 3
	// poisonRow is how many events of a batch are refused one after the other
	// until those behind them are tried one by one: asking for halves first would
	// double the requests of a long row.
	poisonRow = 8
	// maxRefused is how many events may wait as they were refused and cannot be set
	// aside, for a full quarantine or disk. Their offsets are kept in memory and in
	// the checkpoint; beyond it shipping stops, and that is told.
	maxRefused = 10_000
	// heldPatience is how long a pass waits for segments that others hold: a
	// File that drops one for its quota, or rescues one, is done in much less.
	heldPatience = time.Second
)

// failure is why a pass ended early, and how long to wait before the next.
type failure struct {
	condition queue.Condition
	err       error
	wait      time.Duration
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func newDelivery(s *Shipper, q queue.Queue) *delivery {
	d := &delivery{
		s: s, queue: q, out: queue.NewWriter(q), aside: quarantine{queue: q, limit: s.opts.MaxQuarantineBytes},
		size: s.opts.MaxBatchBytes, work: map[string]*work{}, token: make(chan struct{}, 1),
	}
	d.token <- struct{}{}
	return d
}

// due returns how long to wait before the next try.
func (d *delivery) due() time.Duration {
	d.s.mu.Lock()
	defer d.s.mu.Unlock()
	return time.Until(d.retry)
}

// turns runs work with the turn, and reports whether it got it. It waits for it
// as long as patience says.
func (d *delivery) turns(ctx context.Context, patience time.Duration, work func() error) (had bool, err error) {
	select {
	case <-d.token:
		defer func() { d.token <- struct{}{} }()
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}

	begin, pause := time.Now(), time.Millisecond
	for {
		turn, holder, err := queue.TryTurn(d.queue)
		if err != nil {
			return false, &Error{Op: "ship", Path: d.queue.Dir, Err: err}
		}
		if turn != nil {
			d.turn, d.blocked = turn, blocked{}
			if d.state.Condition == "" || d.state.Condition == queue.Blocked {
				d.state = queue.ReadState(d.queue)
			}
			err := work()
			return true, errors.Join(err, turn.End())
		}

		d.waitsFor(holder)
		if time.Since(begin) >= patience {
			return false, nil
		}

		select {
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-time.After(pause):
		}
		pause = min(2*pause, 50*time.Millisecond)
	}
}

// blocked is who had the turn when it was last tried, and since when nothing
// was seen of it.
type blocked struct {
	holder filelock.Holder
	since  time.Time
}

// blockedAfter is how long the holder of the turn may show no work. A request
// that is under way ends sooner or later, one of a stopped process does not.
const blockedAfter = 5 * time.Second

// waitsFor notes that another process has the turn. One that is at work is no
// trouble: it ships for us.
func (d *delivery) waitsFor(holder filelock.Holder) {
	if holder != d.blocked.holder || d.blocked.since.IsZero() {
		d.blocked = blocked{holder, time.Now()}
		return
	}
	// A lock of our own number is that of another shipper here, or of a child that
	// was forked and has not begun.
	if time.Since(d.blocked.since) < blockedAfter || holder.PID == os.Getpid() {
		return
	}
	err := fmt.Errorf("process %d holds the turn to ship it since %s and does nothing: let it go on (kill -CONT), or end it", holder.PID, holder.At.Format(time.RFC3339))
	d.become(queue.State{Condition: queue.Blocked, Since: d.blocked.since, Reason: err.Error(), PID: holder.PID}, err)
}

// bulk ships what is sealed now, and tries again what may pass for as long as
// patience says.
func (d *delivery) bulk(ctx context.Context, o effort, res *Result) error {
	begin, patience := time.Now(), o.patience // since something was taken
	if o.last && d.away() {
		patience = 0
	}
	limit := ""
	for tries := 1; ; tries++ {
		left, before := patience-time.Since(begin), res.Events
		had, err := d.turns(ctx, left, func() error {
			if limit == "" {
				var err error
				if limit, err = d.newest(); err != nil {
					return err
				}
			}
			return d.pass(ctx, limit, res)
		})

		if !had && err == nil {
			err = &Error{Op: "ship", Path: d.queue.Dir, Err: fmt.Errorf("%w: process %d ships it", ErrLocked, d.blocked.holder.PID)}
		}

		f, failed := errors.AsType[*failure](err)
		if !failed {
			return err
		}

		if res.Events > before { // it is there
			begin, patience, tries = time.Now(), o.patience, 1
		}
		left = patience - time.Since(begin)
		if f.condition != queue.Away || left <= 0 || o.attempts != 0 && tries >= o.attempts {
			return f.err
		}

		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; last failure: %w", context.Cause(ctx), f.err)
		case <-time.After(min(f.wait, left)):
			res.Retries++
		}
	}
}

// away reports whether the receiver is known not to take the log: by more than
// one request in a row.
func (d *delivery) away() bool {
	<-d.token
	defer func() { d.token <- struct{}{} }()
	return d.failures > 1 || d.state.Condition == queue.Blocked
}

// newest seals what killed processes left, and returns the sequence of the last
// segment.
func (d *delivery) newest() (string, error) {
	_, adopted := d.out.Adopt() // told by the pass
	segments, err := d.queue.Segments()
	if err != nil {
		return "", errors.Join(adopted, err)
	}
	if len(segments) == 0 {
		return "0", nil
	}
	return segments[len(segments)-1].Seq, nil
}

// round ships what is sealed; when that is gone, or was all refused, it seals
// the active file and ships it too. During an outage the active file thus grows
// to its full size, instead of leaving a small segment each second.
func (d *delivery) round(ctx context.Context, stop <-chan struct{}) error {
	var res Result
	pass := func() error { return d.pass(ctx, "", &res) }
	if !d.exhausted() {
		had, err := d.turns(ctx, 0, pass)
		if _, failed := errors.AsType[*failure](err); failed && d.s.opts.CompressWaiting {
			d.s.problem("compressed "+d.queue.Name, d.pack(ctx, stop))
		}
		if _, failed := errors.AsType[*failure](err); failed || !had || d.s.seal == nil {
			return err
		}
		if err != nil {
			d.s.problem(d.queue.Name, err) // with one segment: new ones are shipped
		}
	}

	select {
	case <-stop:
		return nil // the drain seals
	default:
	}
	if d.s.seal != nil {
		if err := d.s.seal(); err != nil {
			return err
		}
	}
	_, err := d.turns(ctx, 0, pass)
	return err
}

// pack compresses what waits, until stop is closed.
func (d *delivery) pack(ctx context.Context, stop <-chan struct{}) error {
	_, err := d.turns(ctx, 0, func() error {
		for _, seg := range d.all {
			select {
			case <-stop:
				return nil
			default:
			}
			if seg.Packed || seg.Size == 0 {
				continue
			}

			d.turn.Beat()
			err := d.with(ctx, seg, func(f *queue.Reader, seg queue.Segment) error { return seg.Pack(f) })
			if err != nil {
				return d.s.named("compress", seg.Path, err)
			}
		}
		return nil
	})
	return err
}

// exhausted reports whether each event that is sealed was refused.
func (d *delivery) exhausted() bool {
	<-d.token
	defer func() { d.token <- struct{}{} }()
	n := 0
	for _, seg := range d.all {
		w := d.work[seg.Seq]
		if w == nil {
			continue // shipped, or gone
		}
		if w.at < seg.Size {
			return false
		}
		n += len(w.refused)
	}
	return n > 0
}

// pass ships the sealed segments up to the one numbered limit once; "" means
// all. The caller has the turn.
func (d *delivery) pass(ctx context.Context, limit string, res *Result) error {
	d.tidy.Do(func() { d.queue.RemoveUnfinished() })
	problems, err := d.look(limit)
	if err != nil {
		return err
	}

	// What was set aside in between waits no more.
	defer d.s.count(func(st *ShipStats) { st.Delivery = d.describe() })
	d.patience, d.full = heldPatience, nil

	d.prove(res) // what could not be set aside before
	if d.evidence.refusing {
		taken, err := d.try(ctx, 1, res)
		if err != nil {
			return err
		}
		if !taken && d.evidence.refusing {
			return d.refuses()
		}
	}

	// What was refused before and may be taken now comes first.
	if err := d.again(ctx, res, &problems); err != nil {
		return err
	}

	for _, seg := range d.segments {
		err := d.ship(ctx, seg, res)
		if _, failed := errors.AsType[*failure](err); failed || err != nil && ctx.Err() != nil {
			return err
		}
		if err != nil {
			problems = append(problems, d.s.named("ship", seg.Path, err))
		}
	}

	problems = append(problems, d.sweep(res)...)
	if err := d.waiting(); err != nil && len(problems) == 0 {
		return err
	}
	if len(problems) == 1 {
		return problems[0]
	}
	return errors.Join(problems...)
}

// look finds out what there is to ship.
func (d *delivery) look(limit string) (problems []error, err error) {
	d.s.reports.amiss(d.queue)
	if _, err := d.out.Adopt(); err != nil {
		problems = append(problems, &Error{Op: "adopt", Path: d.queue.Dir, Err: err})
	}

	if d.all, err = d.queue.Segments(); err != nil {
		return nil, &Error{Op: "ship", Path: d.queue.Dir, Err: err}
	}

	there := map[string]bool{}
	d.segments = d.segments[:0]
	for _, seg := range d.all {
		there[seg.Seq] = true
		if limit == "" || seg.Seq <= limit {
			d.segments = append(d.segments, seg)
		}
	}

	d.restore(d.all)
	maps.DeleteFunc(d.work, func(seq string, _ *work) bool { return !there[seq] })
	return problems, nil
}

// restore reads the checkpoint. Another process may have shipped in between, so
// that it is read each time; what this one knows holds where it is further.
func (d *delivery) restore(segments []queue.Segment) {
	saved, err := d.queue.Checkpoint().Read()
	if errors.Is(err, queue.ErrDamaged) {
		d.s.reports.event("checkpoint", &Error{Op: "checkpoint", Path: d.queue.Checkpoint().Path(), Err: errors.Join(err, d.queue.Checkpoint().Remove())})
	} else if err != nil {
		d.s.reports.event("checkpoint", &Error{Op: "checkpoint", Path: d.queue.Checkpoint().Path(), Err: err})
	}

	for _, seg := range segments {
		p, ok := saved[seg.Seq]
		w := d.of(seg.Seq)
		if !ok || p.At <= w.at {
			continue
		}
		if p.At > seg.Size {
			// No offset that we wrote: the segment is another one, or the
			// checkpoint is wrong. What is there is sent, at worst again.
			d.s.reports.event("checkpoint", &Error{Op: "ship", Path: seg.Path, Err: fmt.Errorf("%w: %d bytes were sent, %d are there: these are sent again", ErrTruncated, p.At, seg.Size)})
			continue
		}
		w.restore(p)
		w.stays = p.At == seg.Size
	}
}

func (d *delivery) of(seq string) *work {
	w := d.work[seq]
	if w == nil {
		w = newWork()
		d.work[seq] = w
	}
	return w
}

// again sends the events that were refused and may be taken now.
func (d *delivery) again(ctx context.Context, res *Result, problems *[]error) error {
	for _, seg := range d.segments {
		offsets := d.of(seg.Seq).retriable(d.evidence.takes)
		if len(offsets) == 0 {
			continue
		}

		err := d.with(ctx, seg, func(f *queue.Reader, seg queue.Segment) error {
			for len(offsets) > 0 {
				n, err := d.batch.readLines(f, seg, offsets, d.size, d.s.sink.Limits())
				if err != nil {
					return err
				}
				if err := d.send(ctx, d.limited(res), res); err != nil {
					return err
				}
				offsets = offsets[n:]
			}
			return nil
		})

		if _, failed := errors.AsType[*failure](err); failed || err != nil && ctx.Err() != nil {
			return err
		}
		if err != nil {
			*problems = append(*problems, d.s.named("ship", seg.Path, err))
		}
	}
	return nil
}

// with runs work with the segment open and locked, unless it is gone.
func (d *delivery) with(ctx context.Context, seg queue.Segment, work func(f *queue.Reader, seg queue.Segment) error) (err error) {
	if d.file != nil && d.open.Seq == seg.Seq {
		return work(d.file, d.open) // locked already: an event of it is tried
	}

	f, err := seg.Open()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // dropped for the quota
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, queue.Closed(f.Close())) }()

	if err := d.hold(ctx, f.File); err != nil {
		return err
	}
	if !seg.Here(f.File) {
		return nil // dropped for the quota
	}

	if seg.Size, err = f.Size(); err != nil {
		return err
	}

	if d.file == nil {
		d.file, d.open = f, seg
		defer func() { d.file = nil }()
	}
	return work(f, seg)
}

// hold locks the segment open as f.
func (d *delivery) hold(ctx context.Context, f *os.File) error {
	if held, err := filelock.TryLock(f); held || err != nil {
		return err
	}
	begin := time.Now()
	wait, cancel := context.WithTimeout(ctx, d.patience)
	defer cancel()
	err := filelock.Lock(wait, f)
	d.patience -= time.Since(begin)

	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case wait.Err() != nil:
		return ErrLocked
	}
	return err
}

// ship sends what the receiver does not have of seg, and removes it unless
// events of it wait.
func (d *delivery) ship(ctx context.Context, seg queue.Segment, res *Result) error {
	if w := d.of(seg.Seq); w.at >= seg.Size && seg.Size > 0 && len(w.refused) > 0 {
		return nil // all but these are done
	}

	return d.with(ctx, seg, func(f *queue.Reader, seg queue.Segment) error {
		w := d.of(seg.Seq)
		for w.at < seg.Size {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if n := d.refusedEvents(); d.full != nil && n >= maxRefused {
				return d.fail(queue.Refuses, &SinkError{Kind: KindConfig, Err: fmt.Errorf("%d events that were refused wait, and cannot be set aside: shipping stops until they can: %w", n, d.full)})
			}

			if err := d.batch.read(f, seg, w.at, d.size, d.s.sink.Limits()); err != nil {
				return err
			}
			if len(d.batch.lines) == 0 {
				return ErrTruncated
			}

			if err := d.send(ctx, d.limited(res), res); err != nil {
				return err
			}
		}

		if len(w.refused) > 0 {
			return nil
		}
		return d.remove(f, seg, res)
	})
}

func (d *delivery) remove(f *queue.Reader, seg queue.Segment, res *Result) error {
	if err := seg.Remove(f.File); err != nil {
		// Nothing of it is sent again, also after a restart.
		d.of(seg.Seq).stays = true
		return errors.Join(err, d.checkpoint())
	}
	delete(d.work, seg.Seq)
	res.Segments++
	d.s.count(func(st *ShipStats) { st.Segments++ })
	return nil
}

// sweep removes the segments whose last events were set aside.
func (d *delivery) sweep(res *Result) (problems []error) {
	for _, seg := range d.segments {
		w := d.work[seg.Seq]
		if w == nil || w.at < seg.Size || len(w.refused) > 0 {
			continue
		}
		err := d.with(context.Background(), seg, func(f *queue.Reader, seg queue.Segment) error {
			if w.at < seg.Size {
				return nil
			}
			return d.remove(f, seg, res)
		})
		if err != nil {
			problems = append(problems, d.s.named("ship", seg.Path, err))
		}
	}

	return problems
}

// limited returns the indices of the batch that are to be sent. What is larger
// than the receiver takes is set aside.
func (d *delivery) limited(res *Result) []int {
	b, w := &d.batch, d.of(d.batch.seg.Seq)
	most := d.s.sink.Limits().event()

	indices := make([]int, 0, len(b.lines))
	for i, l := range b.lines {
		switch size := l.to - l.from; {
		case size == 0 || w.done[l.at]:
			b.done[i] = true
		case size > most:
			w.refused[l.at] = &refusal{reason: fmt.Errorf("%d bytes exceed the receiver's %d", size, most), takes: -1, firm: true}
			d.asideOrFull(b.seg, []int64{l.at}, res)
			b.done[i] = true
		default:
			indices = append(indices, i)
		}
	}

	return indices
}

// send delivers the lines of the batch at indices and notes how far it is.
func (d *delivery) send(ctx context.Context, indices []int, res *Result) error {
	b := &d.batch

	err := d.deliver(ctx, indices, true, res)

	// What is done, or waits as it was refused, is passed over.
	w := d.of(b.seg.Seq)
	w.reach(b.reached(w))
	if cerr := d.checkpoint(); cerr != nil {
		// Going on is what frees a full disk; until the segment is done, a crash
		// repeats what the checkpoint misses.
		d.s.reports.event("checkpoint", &Error{Op: "checkpoint", Path: d.queue.Checkpoint().Path(), Err: cerr})
	}
	return err
}

// checkpoint writes how far the segments are done.
func (d *delivery) checkpoint() error {
	all := map[string]queue.Progress{}
	for _, seg := range d.all {
		w := d.work[seg.Seq]
		if w == nil {
			continue
		}
		// A segment that is done is removed next, if it can be.
		if p := w.progress(); p.At > 0 && (p.At < seg.Size || p.Held != nil || w.stays) {
			all[seg.Seq] = p
		}
	}

	if len(all) == 0 {
		return nil
	}
	return d.queue.Checkpoint().Write(all)
}

// deliver sends the lines at indices, in parts where the receiver refuses them.
func (d *delivery) deliver(ctx context.Context, indices []int, whole bool, res *Result) error {
	b := &d.batch
	if indices = b.open(indices); len(indices) == 0 {
		return nil
	}

	if len(indices) > 1 && b.row >= poisonRow {
		return d.halves(ctx, indices, res)
	}

	err := d.request(ctx, b, indices)
	if err == nil {
		d.took(b, indices, res)
		d.evidence.grant = 0
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}

	se := asSinkError(err)
	named := pick(indices, se.Rejected)
	switch se.Kind {
	case KindTooLarge:
		if len(indices) > 1 {
			d.size = max(minBatchBytes, min(d.size, b.bytes(indices))/2)
			return d.halves(ctx, indices, res)
		}
		named = []rejected{{line: indices[0], reason: se}}
	case KindRejected:
		if named == nil && len(indices) == 1 {
			named = []rejected{{line: indices[0], reason: se}}
		}
	default:
		if named != nil {
			d.took(b, without(indices, named), res)
		}
		return d.failed(se)
	}

	if named != nil {
		d.refused(b, indices, named, res)
		sent := slices.ContainsFunc(named, func(r rejected) bool { return !r.unsent })
		if len(named) < len(indices) || !sent {
			return nil // others were taken, or nothing was asked
		}
	}

	// What comes next tells more than a probe would, as long as this is the
	// first event in a row.
	if named != nil && whole && !d.evidence.stumbled {
		d.evidence.stumbled = true
		return nil
	}

	if err := d.proof(ctx, whole && named == nil, se, res); err != nil {
		return err
	}
	if named != nil {
		return nil
	}
	return d.halves(ctx, indices, res)
}

func (d *delivery) halves(ctx context.Context, indices []int, res *Result) error {
	half := len(indices) / 2
	if err := d.deliver(ctx, indices[:half], false, res); err != nil {
		return err
	}
	return d.deliver(ctx, indices[half:], false, res)
}

// request hands the lines at indices to the sink, as a piece of the file if
// they are one.
func (d *delivery) request(ctx context.Context, b *batch, indices []int) error {
	d.turn.Beat()
	if d.s.raw != nil {
		if section := b.section(indices); section != nil {
			return d.s.raw.SendRaw(ctx, b.id(indices[0]), section)
		}
	}
	events := b.list(indices)
	return d.s.sink.Send(ctx, &Batch{ID: events[0].ID, Events: events})
}

// took notes that the receiver has the lines at indices: what was refused
// before them is poison.
func (d *delivery) took(b *batch, indices []int, res *Result) {
	if len(indices) == 0 {
		return
	}
	w := d.of(b.seg.Seq)
	for _, i := range indices {
		b.done[i] = true
		w.take(b.lines[i].at)
	}
	b.row = 0
	d.evidence.took()
	d.size = min(d.s.opts.MaxBatchBytes, d.size+d.size/64+1)

	events, size := int64(len(indices)), int64(b.bytes(indices))
	res.Events += events
	res.Bytes += size
	d.s.count(func(st *ShipStats) {
		st.Events += events
		st.Bytes += size
		st.Batches++
		st.LastSent = time.Now()
	})
	d.healthy()
	d.prove(res)
}

// refused notes events that were refused by themselves, among the lines at
// indices of which all others were taken.
func (d *delivery) refused(b *batch, indices []int, named []rejected, res *Result) {
	w := d.of(b.seg.Seq)
	if len(indices) == 1 {
		b.row++
	}

	taken := without(indices, named)
	last := -1
	if len(taken) > 0 {
		last = taken[len(taken)-1]
	}

	note := func(r rejected) {
		at := b.lines[r.line].at
		w.refused[at] = d.evidence.refusal(r, w.refused[at])
	}
	// What stands before the last event that was taken was refused before that
	// one was: another taken since is proof that the receiver is well.
	for _, r := range named {
		if r.line < last {
			note(r)
		}
	}

	d.took(b, taken, res)
	for _, r := range named {
		if r.line > last {
			note(r)
		}
	}
	d.prove(res)
}

// prove sets aside what was refused before something was taken.
func (d *delivery) prove(res *Result) {
	for _, seg := range d.all {
		if w := d.work[seg.Seq]; w != nil {
			d.asideOrFull(seg, w.poison(d.evidence.takes), res)
		}
	}
}

// asideOrFull sets events aside, or keeps why that cannot be done: the next pass
// tries it again.
func (d *delivery) asideOrFull(seg queue.Segment, proven []int64, res *Result) {
	if len(proven) == 0 || d.full != nil {
		return
	}
	if err := d.setAside(seg, proven, res); err != nil {
		d.full = d.s.named("quarantine", d.queue.Quarantine(), err)
	}
}

// setAside writes the events of seg at the given offsets, which were refused, to
// the quarantine, and counts them as done.
func (d *delivery) setAside(seg queue.Segment, offsets []int64, res *Result) error {
	w := d.of(seg.Seq)
	if err := d.aside.add(seg, w, offsets); err != nil {
		return err
	}

	id, why := "", error(nil)
	for _, at := range offsets {
		id, why = eventID(seg.Seq, at), w.refused[at].reason
		d.finish(seg, at)
		d.poison++
		if res.reason == nil {
			res.reason = why
		}
	}
	n := int64(len(offsets))
	res.Quarantined += n
	d.s.count(func(st *ShipStats) { st.Quarantined += n })
	d.s.reports.event("refused", &Error{Op: "ship", Path: d.queue.Quarantine(), Err: fmt.Errorf("%w: %d were set aside, the last is %s: %w", ErrRefused, d.poison, id, why)})
	return nil
}

// proof returns nil if the receiver is known to take something, or is found to.
func (d *delivery) proof(ctx context.Context, anew bool, se *SinkError, res *Result) error {
	if anew {
		d.evidence.trust = 0
	}
	if d.evidence.spend() {
		return nil
	}
	taken, err := d.try(ctx, firstProbes, res)
	if err != nil || taken {
		return err
	}
	d.unsure = se
	return d.refuses()
}

// try sends single events until one is taken, at most so many.
func (d *delivery) try(ctx context.Context, most int, res *Result) (taken bool, err error) {
	for range most {
		c := candidates{segments: d.segments, of: d.of, most: d.s.sink.Limits().event()}
		seg, at, ok := c.nth(d.evidence.probes)
		d.evidence.probes++
		if !ok {
			return false, nil
		}

		err := d.with(ctx, seg, func(f *queue.Reader, seg queue.Segment) error {
			if _, err := d.probe.readLines(f, seg, []int64{at}, 0, Limits{}); err != nil {
				return err
			}
			taken, err = d.sendProbe(ctx, res)
			return err
		})

		if taken {
			d.finish(seg, at)
			d.evidence.probed()
		}
		if taken || err != nil {
			return taken, err
		}
	}
	return false, nil
}

// sendProbe sends the one event of the probe. That it was refused is no error.
func (d *delivery) sendProbe(ctx context.Context, res *Result) (taken bool, err error) {
	b := &d.probe
	err = d.request(ctx, b, []int{0})
	if err == nil {
		d.took(b, []int{0}, res)
		return true, nil
	}
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}

	se := asSinkError(err)
	if se.Kind != KindRejected && se.Kind != KindTooLarge {
		return false, d.failed(se)
	}

	d.unsure = se
	named := pick([]int{0}, se.Rejected)
	if named == nil {
		named = []rejected{{line: 0, reason: se}}
	}
	d.refused(b, []int{0}, named, res)
	return false, nil
}

// finish marks an event as done, also where it is part of the batch under way.
func (d *delivery) finish(seg queue.Segment, at int64) {
	d.of(seg.Seq).finish(at)
	if d.batch.seg.Seq == seg.Seq {
		d.batch.finish(at)
	}
}

// refuses notes that the receiver takes nothing: what was refused is sent once
// more before it counts as poison.
func (d *delivery) refuses() error {
	d.evidence.refusing = true
	var reason error
	for _, w := range d.work {
		for _, r := range w.refused {
			r.firm = false
			reason = cmp.Or(r.reason, reason)
		}
	}

	why := d.unsure
	switch {
	case why != nil:
	case reason != nil:
		why = fmt.Errorf("events that were refused before wait: %w", reason)
	default: // they were refused to a process before this one
		why = errors.New("events that were refused before wait")
	}
	return d.fail(queue.Refuses, &SinkError{Kind: KindConfig, Err: fmt.Errorf("%w; nothing was taken since, so that all is kept: a mistake in the sink's configuration, or %d events that it will never take", why, d.refusedEvents())})
}

// waiting returns a failure if events wait that were refused.
func (d *delivery) waiting() error {
	n := 0
	for _, w := range d.work {
		for _, r := range w.refused {
			if !r.firm || r.takes >= d.evidence.takes {
				return d.refuses()
			}
			n++
		}
	}
	if n > 0 && d.full != nil {
		return d.fail(queue.Refuses, &SinkError{Kind: KindConfig, Err: d.full})
	}
	d.unsure = nil
	return nil
}

// failed notes a request that failed for another reason than its events.
func (d *delivery) failed(se *SinkError) *failure {
	condition := queue.Away
	if se.Kind == KindConfig {
		condition = queue.Refuses
	}
	return d.fail(condition, se)
}

// fail notes a failure and says how long to wait.
func (d *delivery) fail(condition queue.Condition, se *SinkError) *failure {
	d.failures++
	policy := backoff.Policy{Base: d.s.opts.Retry.Base, Max: d.s.opts.Retry.Max}
	wait := max(policy.Delay(d.failures), min(se.RetryAfter, maxRetryAfter))
	d.s.count(func(st *ShipStats) {
		d.retry = time.Now().Add(wait)
		st.Failures = d.failures
		st.Retries++
		st.LastError = se.Error()
	})
	d.become(queue.State{Condition: condition, Reason: se.Error()}, se)
	return &failure{condition: condition, err: se, wait: wait}
}

// healthy notes that the receiver takes what comes.
func (d *delivery) healthy() {
	d.failures = 0
	d.s.count(func(st *ShipStats) { d.retry, st.Failures, st.LastError = time.Time{}, 0, "" })
	d.become(queue.State{Condition: queue.Healthy}, nil)
}

// become notes the state, and says what is new.
func (d *delivery) become(now queue.State, cause error) {
	was := d.state
	if now.Condition == was.Condition {
		now.Since = was.Since
	} else if now.Condition != queue.Healthy {
		now.Since = time.Now()
	}

	d.state = now
	d.s.count(func(st *ShipStats) { st.Delivery = d.describe() })
	d.s.delivers(d.queue.Name, now, cause)
	if now.Condition == was.Condition && now.PID == was.PID {
		return
	}

	// On a full disk the state is not kept over a restart.
	if now.Condition != queue.Healthy || was.Condition != "" {
		_ = now.Save(d.queue)
	}
}

// refusedEvents returns how many events wait as they were refused.
func (d *delivery) refusedEvents() (n int) {
	for _, w := range d.work {
		n += len(w.refused)
	}
	return n
}

// describe returns the state for Stats.
func (d *delivery) describe() Delivery {
	return Delivery{Condition: string(d.state.Condition), Since: d.state.Since, Reason: d.state.Reason, PID: d.state.PID, Refused: d.refusedEvents()}
}

// rejected is a line of the batch that was refused, and why; unsent by the sink
// itself.
type rejected struct {
	line   int
	reason error
	unsent bool
}

// maxReasonBytes bounds what is kept of a receiver's reason for one event.
const maxReasonBytes = 1 << 10

// pick returns the elements of indices that were rejected, each once and in
// order, nil if none of them is valid.
func pick(indices []int, named []Rejection) []rejected {
	var out []rejected
	seen := map[int]bool{}
	for _, r := range named {
		if r.Index < 0 || r.Index >= len(indices) || seen[r.Index] {
			continue
		}
		seen[r.Index] = true
		out = append(out, rejected{indices[r.Index], errors.New(strings.Clone(r.Reason[:min(len(r.Reason), maxReasonBytes)])), r.Unsent})
	}
	slices.SortFunc(out, func(a, b rejected) int { return a.line - b.line })
	return out
}

// without returns indices less those in drop.
func without(indices []int, drop []rejected) []int {
	gone := make(map[int]bool, len(drop))
	for _, r := range drop {
		gone[r.line] = true
	}
	var out []int
	for _, i := range indices {
		if !gone[i] {
			out = append(out, i)
		}
	}
	return out
}
