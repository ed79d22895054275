package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"time"
)

// event is a line of a log, read back.
type event struct {
	time      time.Time
	level     slog.Level
	component string
	message   string
	attrs     []slog.Attr
}

// parseEvent reads a line as package logging writes it, with any of its sets of
// keys.
func parseEvent(line []byte) (event, error) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return event{}, errors.Join(errors.New("no JSON object"), err)
	}

	fields, err := parseFields(d)
	if err != nil {
		return event{}, err
	}
	if d.More() {
		return event{}, errors.New("more than one JSON object")
	}

	var e event
	e.attrs = slices.DeleteFunc(fields, func(a slog.Attr) bool { return e.take(a) })
	return e, nil
}

// take reports whether a field is one that every record has.
func (e *event) take(a slog.Attr) bool {
	text, ok := a.Value.Any().(string)
	if !ok {
		return false
	}

	switch a.Key {
	case "time", "@timestamp":
		var err error
		e.time, err = time.Parse(time.RFC3339Nano, text)
		return err == nil
	case "level", "severity", "log.level":
		var err error
		e.level, err = parseLevel(text)
		return err == nil
	case "msg", "message":
		e.message = text
		return true
	case "component":
		e.component = text
		return true
	}

	return false
}

// parseFields reads an object, whose brace is read already, in its order.
func parseFields(d *json.Decoder) ([]slog.Attr, error) {
	var fields []slog.Attr
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return nil, err
		}

		value, err := parseValue(raw)
		if err != nil {
			return nil, err
		}
		fields = append(fields, slog.Attr{Key: fmt.Sprint(key), Value: value})
	}

	_, err := d.Token()
	return fields, err
}

// parseValue reads a text or a group; the rest is shown as it was written.
func parseValue(raw json.RawMessage) (slog.Value, error) {
	switch raw[0] {
	case '"':
		var text string
		err := json.Unmarshal(raw, &text)
		return slog.StringValue(text), err
	case '{':
		d := json.NewDecoder(bytes.NewReader(raw))
		if _, err := d.Token(); err != nil {
			return slog.Value{}, err
		}
		group, err := parseFields(d)
		return slog.GroupValue(group...), err
	}
	return slog.StringValue(string(raw)), nil
}

// parseLevel reads a level by name, those of Google Cloud and of Python
// included.
func parseLevel(text string) (level slog.Level, err error) {
	switch upper := strings.ToUpper(text); upper {
	case "WARNING":
		return slog.LevelWarn, nil
	case "NOTICE":
		return slog.LevelInfo + 2, nil
	case "CRITICAL":
		return slog.LevelError + 4, nil
	}
	if err := level.UnmarshalText([]byte(text)); err != nil {
		return 0, fmt.Errorf("%q is no level: use debug, info, warn or error", text)
	}
	return level, nil
}

// filter says which events are shown. Its zero value shows all.
type filter struct {
	level        *slog.Level
	components   []string // names, or families such as orders.*
	since, until time.Time
	text         *regexp.Regexp // of the line as it is written
}

// needsEvent reports whether a line that is no event can pass.
func (f *filter) needsEvent() bool {
	return f.level != nil || f.components != nil || !f.since.IsZero() || !f.until.IsZero()
}

func (f *filter) matches(e event) bool {
	switch {
	case f.level != nil && e.level < *f.level,
		!f.since.IsZero() && e.time.Before(f.since),
		!f.until.IsZero() && e.time.After(f.until):
		return false
	}
	return f.components == nil || slices.ContainsFunc(f.components, func(pattern string) bool {
		family, ok := strings.CutSuffix(pattern, ".*")
		return e.component == pattern || ok && (e.component == family || strings.HasPrefix(e.component, family+"."))
	})
}

// parseTime reads a time, a day, or how long ago it was, such as 10m.
func parseTime(text string, now time.Time) (time.Time, error) {
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", time.DateTime, "2006-01-02 15:04", time.DateOnly} {
		if at, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf(`%q is no time: use one such as "2006-01-02 15:04", or how long ago, such as 10m`, text)
}
