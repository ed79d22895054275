package logging

import (
	"context"
	"log/slog"
	"path/filepath"
	"slices"
)

// handler is the gate in front of all outputs: the component's level and the
// storm sampling.
type handler struct {
	logs      *Logs
	component string
	level     *slog.LevelVar
	attrs     []slog.Attr // by WithAttrs outside of any group
	grouped   bool
	next      slog.Handler
}

func (h *handler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level.Level()
}

func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	if owner, ok := ctx.Value(shipping{}).(*Logs); ok && owner == h.logs {
		return nil // our shipper's own report would be shipped in turn
	}
	if s := h.logs.sampler.Load(); s != nil && !s.pass(h.component, r) {
		return nil
	}

	if !h.grouped && h.component != "" {
		if name, rest, ok := ownComponent(r); ok {
			return h.logs.outputs(name).WithAttrs(h.attrs).Handle(ctx, rest)
		}
	}
	return h.next.Handle(ctx, r)
}

// ownComponent returns the component that the record names itself, and the
// record without it: a library that is given the logger of a component may put
// its own into each record, and receivers refuse a key that stands twice.
func ownComponent(r slog.Record) (name string, rest slog.Record, ok bool) {
	r.Attrs(func(a slog.Attr) bool {
		ok = a.Key == componentKey
		return !ok
	})
	if !ok {
		return "", r, false
	}

	rest = slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == componentKey {
			name = a.Value.Resolve().String()
		} else {
			rest.AddAttrs(a)
		}
		return true
	})
	return name, rest, true
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if len(attrs) == 0 {
		return h
	}
	c := *h
	if h.grouped {
		c.next = h.next.WithAttrs(attrs)
		return &c
	}

	name, rest := splitComponent(h.component, make([]slog.Attr, 0, len(attrs)), attrs)
	c.attrs = slices.Concat(h.attrs, rest)
	if name == h.component {
		c.next = h.next.WithAttrs(rest)
		return &c
	}
	c.component, c.level = name, h.logs.levels.component(name)

	c.next = h.logs.outputs(name).WithAttrs(c.attrs)
	return &c
}

// splitComponent returns the last component that attrs name, else name, and
// appends the other attributes to rest. Groups without a key are no groups.
func splitComponent(name string, rest, attrs []slog.Attr) (string, []slog.Attr) {
	for _, a := range attrs {
		v := a.Value
		if a.Key == "" || a.Key == componentKey {
			v = v.Resolve()
		}
		switch {
		case a.Key == "" && v.Kind() == slog.KindGroup:
			name, rest = splitComponent(name, rest, v.Group())
		case a.Key == componentKey && v.Kind() == slog.KindGroup:
			name, rest = "", append(rest, a) // the key can stand once
		case a.Key == componentKey:
			name = v.String()
		default:
			rest = append(rest, a)
		}
	}

	return name, rest
}

func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	c := *h
	c.grouped = true
	c.next = h.next.WithGroup(name)
	return &c
}

// shipping is the key of the context value which marks the reports of a
// shipper: the *Logs it works for.
type shipping struct{}

// leadsTo reports whether logger writes to the log called name in dir, or to
// any there if name is empty.
func leadsTo(logger *slog.Logger, dir, name string) bool {
	h, ok := logger.Handler().(*handler)
	if !ok || h.logs.file == nil {
		return false
	}
	q := h.logs.file.queue
	a, errA := filepath.Abs(dir)
	b, errB := filepath.Abs(q.Dir)
	return errA == nil && errB == nil && a == b && (name == "" || name == q.Name)
}
