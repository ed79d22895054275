package queue

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Headers of results and dead letters.
const (
	urlHeader     = "Fleet-Url"
	finalHeader   = "Fleet-Final-Url"
	statusHeader  = "Fleet-Status"
	typeHeader    = "Content-Type"
	workerHeader  = "Fleet-Worker"
	reasonHeader  = "Fleet-Reason"
	triesHeader   = "Fleet-Tries"
	maxReason     = 500 // bytes of a reason that are kept
	headerReserve = 8 << 10
)

// Page is what a job's address gave.
type Page struct {
	// FinalURL is where redirects led. Empty: the job's address.
	FinalURL string
	// Status is the HTTP status code.
	Status int
	// ContentType is the header of that name.
	ContentType string
	// Body is the page.
	Body []byte
}

// Result is a stored page.
type Result struct {
	Page

	// ID and URL are the job's.
	ID, URL string
	// Worker fetched it, at Time by the server's clock.
	Worker string
	Time   time.Time
}

// DeadLetter is a job that was given up.
type DeadLetter struct {
	// ID and URL are the job's; URL is empty where the message was no job.
	ID, URL string
	// Reason says why, Tries how often its page was asked for.
	Reason string
	Tries  int
	// Worker gave it up, at Time by the server's clock.
	Worker string
	Time   time.Time

	sequence uint64
	data     []byte
}

// MaxBodyBytes returns how large a page can be: what the server takes in one
// message, without what the headers may need.
func MaxBodyBytes(nc *nats.Conn) int64 { return nc.MaxPayload() - headerReserve }

// storeOnce publishes msg if nothing is stored under its subject, and reports
// whether it was the first. The subject is made from the job's ID, so that
// there is one result per job, however long ago the first was stored.
func (q *Queue) storeOnce(ctx context.Context, msg *nats.Msg, id string) (first bool, err error) {
	return q.store(ctx, msg, id, jetstream.WithExpectLastSequencePerSubject(0))
}

// store is storeOnce under the conditions of opts.
func (q *Queue) store(ctx context.Context, msg *nats.Msg, id string, opts ...jetstream.PublishOpt) (first bool, err error) {
	opts = append(opts, jetstream.WithMsgID(id))
	err = q.asker.Ask(ctx, "store results", func(ctx context.Context) error {
		again := &nats.Msg{Subject: msg.Subject, Header: nats.Header{}, Data: msg.Data}
		maps.Copy(again.Header, msg.Header)
		ack, err := q.js.PublishMsg(ctx, again, opts...)
		switch {
		case err == nil:
			first = !ack.Duplicate
		case conflicts(err):
			err = nil // somebody was first
		}
		return err
	})
	if err != nil {
		return false, fmt.Errorf("queue: store %s: %w", id, err)
	}
	return first, nil
}

// conflicts reports whether the server refused a message as another holds its
// subject.
func conflicts(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// settled reports whether a job has its result already.
func (q *Queue) settled(ctx context.Context, id string) (known bool, err error) {
	err = q.asker.Ask(ctx, "look for results", func(ctx context.Context) error {
		_, err := q.results.GetLastMsgForSubject(ctx, resultsPrefix+id)
		if known = err == nil; errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		return err
	})
	return known, err
}

// rest takes a job out of the queue until a time of the server's clock. It keeps
// how often it was tried. The server's scheduler puts it back.
func (q *Queue) rest(ctx context.Context, msg jetstream.Msg, id string, sequence uint64, tries int, until time.Time) error {
	return q.asker.Ask(ctx, "put jobs to rest", func(ctx context.Context) error {
		// A subject for each message: of two jobs of one ID none replaces the other.
		m := nats.NewMsg(restPrefix + id + "." + strconv.FormatUint(sequence, 10))
		m.Data = msg.Data()
		m.Header.Set(triesHeader, strconv.Itoa(tries))
		// WithScheduleAt cuts times to the second, and could wake a job early.
		m.Header.Set(jetstream.ScheduleHeader, "@at "+until.UTC().Format(time.RFC3339Nano))
		m.Header.Set(jetstream.ScheduleTargetHeader, jobsPrefix+id)
		_, err := q.js.PublishMsg(ctx, m, jetstream.WithMsgID(fmt.Sprintf("%s.rest-%d", id, sequence)))
		return err
	})
}

// schedule puts the next fetch of a job to rest until a time of the server's
// clock, in the place of one that is there. A job whose message was taken out of
// the queue meanwhile gets none.
func (q *Queue) schedule(ctx context.Context, msg jetstream.Msg, id string, sequence uint64, next time.Time) error {
	return q.asker.Ask(ctx, "schedule jobs", func(ctx context.Context) error {
		if _, err := q.jobs.GetMsg(ctx, sequence); err != nil {
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				return nil
			}
			return err
		}

		m := nats.NewMsg(scheduleSubject(id))
		m.Data = msg.Data()
		m.Header.Set(jetstream.ScheduleHeader, "@at "+next.UTC().Format(time.RFC3339Nano))
		m.Header.Set(jetstream.ScheduleTargetHeader, jobsPrefix+id)
		_, err := q.js.PublishMsg(ctx, m, jetstream.WithMsgID(fmt.Sprintf("%s.every-%d", id, sequence)))
		return err
	})
}

// scheduleSubject holds the next fetch of a job, of which there is one.
func scheduleSubject(id string) string { return restPrefix + id + ".every" }

// Unschedule ends the schedules of jobs, and takes those out of the queue that
// wait for their turn; a page on its way is still stored. It returns how many had
// a schedule or waited.
func (q *Queue) Unschedule(ctx context.Context, jobs iter.Seq2[Job, error]) (int, error) {
	n := 0
	for job, err := range jobs {
		if err == nil {
			job, err = job.withID()
		}
		if err != nil {
			return n, err
		}

		ended, err := q.unschedule(ctx, job.ID)
		if err != nil {
			return n, fmt.Errorf("queue: unschedule %s: %w", job.ID, err)
		}
		if ended {
			n++
		}
	}
	return n, nil
}

// unschedule deletes what is on its way before what rests: by the one, a worker
// would make the next of the other. What was asked for once stays.
func (q *Queue) unschedule(ctx context.Context, id string) (ended bool, err error) {
	for _, subject := range []string{jobsPrefix + id, restPrefix + id + ".*"} {
		err := q.asker.Ask(ctx, "end schedules", func(ctx context.Context) error {
			for from := uint64(1); ; from++ {
				msg, err := q.jobs.GetMsg(ctx, from, jetstream.WithGetMsgSubject(subject)) // the next behind from
				if errors.Is(err, jetstream.ErrMsgNotFound) {
					return nil
				}
				if err != nil {
					return err
				}

				from = msg.Sequence
				if job, err := decodeJob(msg.Data); err != nil || job.Every == 0 {
					continue
				}
				if err := remove(ctx, q.jobs, from); err != nil {
					return err
				}
				ended = true
			}
		})
		if err != nil {
			return ended, err
		}
	}
	return ended, nil
}

// remove deletes a message. The server has one code for whatever keeps it from
// that: a message that is gone, as another was faster, is no failure.
func remove(ctx context.Context, s jetstream.Stream, sequence uint64) error {
	err := s.DeleteMsg(ctx, sequence)
	if err == nil {
		return nil
	}
	if _, gone := s.GetMsg(ctx, sequence); errors.Is(gone, jetstream.ErrMsgNotFound) {
		return nil
	}
	return err
}

// keepResult stores a page as the result of a job, whose message had this
// number.
func (q *Queue) keepResult(ctx context.Context, job Job, sequence uint64, page Page, worker string) (first bool, err error) {
	msg := nats.NewMsg(resultsPrefix + job.ID)
	msg.Data = page.Body
	set(msg, urlHeader, job.URL)
	set(msg, finalHeader, page.FinalURL)
	set(msg, statusHeader, strconv.Itoa(page.Status))
	set(msg, typeHeader, page.ContentType)
	set(msg, workerHeader, worker)
	if job.replaces() {
		return q.store(ctx, msg, fmt.Sprintf("%s.again-%d", job.ID, sequence))
	}
	return q.storeOnce(ctx, msg, job.ID)
}

// keepDead stores why a job was given up. The subject has the number of the
// job's message, too: a job that was requeued may die again before its first
// dead letter is gone.
func (q *Queue) keepDead(ctx context.Context, id, url string, data []byte, reason string, tries int, sequence uint64, worker string) error {
	name := id + "." + strconv.FormatUint(sequence, 10)
	msg := nats.NewMsg(deadPrefix + name)
	msg.Data = data
	set(msg, urlHeader, url)
	set(msg, reasonHeader, reason[:min(len(reason), maxReason)])
	set(msg, triesHeader, strconv.Itoa(tries))
	set(msg, workerHeader, worker)
	_, err := q.storeOnce(ctx, msg, name)
	return err
}

// set sets a header if it has a value, on one line, and short enough.
func set(msg *nats.Msg, name, value string) {
	clean := []byte(strings.ToValidUTF8(value[:min(len(value), maxURL)], "")) // a cut may part a character
	for i, c := range clean {
		if c < ' ' || c == 0x7f {
			clean[i] = ' '
		}
	}
	if len(clean) > 0 {
		msg.Header.Set(name, string(clean))
	}
}

// Results returns all results in the order in which they were stored, up to
// the last there is at the call.
func (q *Queue) Results(ctx context.Context) iter.Seq2[Result, error] {
	return func(yield func(Result, error) bool) {
		for raw, err := range q.each(ctx, q.results, 1) {
			var r Result
			if err == nil {
				r = resultOf(raw)
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

// DeadLetters returns all dead letters, the oldest first, up to the last there
// is at the call.
func (q *Queue) DeadLetters(ctx context.Context) iter.Seq2[DeadLetter, error] {
	return func(yield func(DeadLetter, error) bool) {
		for raw, err := range q.each(ctx, q.dead, 1) {
			var d DeadLetter
			if err == nil {
				d = deadOf(raw.Subject, raw.Header, raw.Data, raw.Sequence, raw.Time)
			}
			if !yield(d, err) {
				return
			}
		}
	}
}

// LastDeadLetters returns at most n dead letters, the newest first.
func (q *Queue) LastDeadLetters(ctx context.Context, n int) ([]DeadLetter, error) {
	info, err := q.dead.Info(ctx)
	if err != nil {
		return nil, fmt.Errorf("queue: dead letters: %w", err)
	}
	var out []DeadLetter

	// Requeued ones leave gaps; looking at a few of them is enough here.
	for seq, looked := info.State.LastSeq, 0; seq >= info.State.FirstSeq && seq > 0 && len(out) < n && looked < 5*n; seq, looked = seq-1, looked+1 {
		raw, err := q.dead.GetMsg(ctx, seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("queue: dead letters: %w", err)
		}
		out = append(out, deadOf(raw.Subject, raw.Header, raw.Data, raw.Sequence, raw.Time))
	}

	return out, nil
}

// each reads a stream from a sequence number on to its last message of now.
func (q *Queue) each(ctx context.Context, s jetstream.Stream, from uint64) iter.Seq2[*jetstream.RawStreamMsg, error] {
	return func(yield func(*jetstream.RawStreamMsg, error) bool) {
		info, err := s.Info(ctx)
		if err != nil {
			yield(nil, fmt.Errorf("queue: read: %w", err))
			return
		}

		if info.State.Msgs == 0 {
			return
		}

		consumer, err := s.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: max(from, 1)})
		if err != nil {
			yield(nil, fmt.Errorf("queue: read: %w", err))
			return
		}

		messages, err := consumer.Messages()
		if err != nil {
			yield(nil, fmt.Errorf("queue: read: %w", err))
			return
		}
		defer messages.Stop()

		for {
			msg, err := messages.Next(jetstream.NextContext(ctx))
			if err != nil {
				yield(nil, fmt.Errorf("queue: read: %w", err))
				return
			}
			md, err := msg.Metadata()
			if err != nil {
				yield(nil, fmt.Errorf("queue: read: %w", err))
				return
			}
			if md.Sequence.Stream > info.State.LastSeq {
				return
			}

			raw := &jetstream.RawStreamMsg{Subject: msg.Subject(), Sequence: md.Sequence.Stream, Header: msg.Headers(), Data: msg.Data(), Time: md.Timestamp}
			if !yield(raw, nil) || md.NumPending == 0 {
				return
			}
		}
	}
}

func resultOf(raw *jetstream.RawStreamMsg) Result {
	status, _ := strconv.Atoi(raw.Header.Get(statusHeader)) // of our own making
	return Result{
		Page: Page{FinalURL: raw.Header.Get(finalHeader), Status: status, ContentType: raw.Header.Get(typeHeader), Body: raw.Data},
		ID:   raw.Subject[len(resultsPrefix):], URL: raw.Header.Get(urlHeader), Worker: raw.Header.Get(workerHeader), Time: raw.Time,
	}
}

func deadOf(subject string, header nats.Header, data []byte, sequence uint64, at time.Time) DeadLetter {
	tries, _ := strconv.Atoi(header.Get(triesHeader)) // of our own making
	id, _, _ := strings.Cut(subject[len(deadPrefix):], ".")
	return DeadLetter{
		ID: id, URL: header.Get(urlHeader), Reason: header.Get(reasonHeader), Tries: tries,
		Worker: header.Get(workerHeader), Time: at, sequence: sequence, data: data,
	}
}

// Requeue puts all dead letters back into the queue, with all their tries, and
// returns how many. Those that were no jobs stay.
func (q *Queue) Requeue(ctx context.Context) (int, error) {
	n := 0
	for d, err := range q.DeadLetters(ctx) {
		if err != nil {
			return n, err
		}
		if _, err := decodeJob(d.data); err != nil {
			continue
		}
		msg := nats.NewMsg(jobsPrefix + d.ID)

		msg.Data = d.data
		// The sequence number tells this time from the first one.
		msg.Header.Set(nats.MsgIdHdr, fmt.Sprintf("%s.dead-%d", d.ID, d.sequence))
		var counted Published
		if err := q.publishAll(ctx, []*nats.Msg{msg}, &counted); err != nil {
			return n, err
		}

		if err := remove(ctx, q.dead, d.sequence); err != nil {
			return n, fmt.Errorf("queue: requeue %s: %w", d.ID, err)
		}

		n++
	}

	return n, nil
}

// Sequence names the dead letter among all there ever were.
func (d DeadLetter) Sequence() string { return strconv.FormatUint(d.sequence, 10) }

// FollowDead calls tell for each dead letter, old and new, until ctx ends. It
// keeps its place on the server under a name: after a restart it goes on. A
// dead letter of which tell returns an error is told again later.
func (q *Queue) FollowDead(ctx context.Context, name string, tell func(context.Context, DeadLetter) error) error {
	var consumer jetstream.Consumer
	err := q.asker.Ask(ctx, "follow dead letters", func(ctx context.Context) (err error) {
		consumer, err = q.dead.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{Durable: name, AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 1})
		return err
	})
	for ctx.Err() == nil {
		if err != nil {
			return fmt.Errorf("queue: follow dead letters: %w", err)
		}

		msg, nextErr := consumer.Next(jetstream.FetchMaxWait(pullWait))
		if nextErr != nil {
			wait(ctx, 100*time.Millisecond) // nothing there, or the server is away
			continue
		}

		md, mdErr := msg.Metadata()
		if mdErr != nil {
			continue
		}

		if telling := tell(ctx, deadOf(msg.Subject(), msg.Headers(), msg.Data(), md.Sequence.Stream, md.Timestamp)); telling != nil {
			q.log.WarnContext(ctx, "dead letter not told", "sequence", md.Sequence.Stream, "error", telling)
			_ = msg.NakWithDelay(10 * time.Second) // else it comes again after the wait for an answer
			continue
		}

		_ = msg.DoubleAck(ctx) // else it is told again, under the same ID
	}

	return nil
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
