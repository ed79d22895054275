package otlp

import (
	stdbytes "bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/logging/internal/jsontext"
	"github.com/svcblocks/svcblocks/logging/sink/internal/post"
)

// appendJSON appends the request in OTLP's JSON: names in lowerCamelCase, 64-bit
// integers as strings, trace and span IDs in hex.
func appendJSON(b []byte, resource []attribute, batch *logging.Batch) []byte {
	b = append(b, `{"resourceLogs":[{"resource":{"attributes":[`...)
	for i, a := range resource {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendJSONAttribute(b, a.key, a.value)
	}

	b = append(b, `]},"scopeLogs":[{"scope":{"name":"`+scope+`"},"logRecords":[`...)
	for i, e := range batch.Events {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendJSONRecord(b, e)
	}

	return append(b, `]}]}]}`...)
}

func appendJSONRecord(b []byte, e logging.Event) []byte {
	r := post.Parse(e)
	nanos := strconv.FormatInt(r.Time.UnixNano(), 10)
	b = append(b, `{"timeUnixNano":"`+nanos+`","observedTimeUnixNano":"`+nanos+`"`...)
	if n := post.Severity(r.Level); n > 0 {
		b = strconv.AppendInt(append(b, `,"severityNumber":`...), int64(n), 10)
	}
	if r.Level != "" {
		b = jsontext.AppendString(append(b, `,"severityText":`...), r.Level)
	}

	b = append(jsontext.AppendString(append(b, `,"body":{"stringValue":`...), r.Message), '}')
	b = append(b, `,"attributes":[`...)
	for _, f := range r.Fields {
		if f.Key == uid {
			continue // is the event's own
		}
		b = append(jsontext.AppendString(append(b, `{"key":`...), f.Key), `,"value":`...)
		b = append(appendJSONValue(b, decode(f.Raw)), '}', ',')
	}

	b = append(appendJSONAttribute(b, uid, e.ID), ']')
	if r.Trace != "" {
		b = jsontext.AppendString(append(b, `,"traceId":`...), strings.ToLower(r.Trace))
	}
	if r.Span != "" {
		b = jsontext.AppendString(append(b, `,"spanId":`...), strings.ToLower(r.Span))
	}
	return append(b, '}')
}

func appendJSONAttribute(b []byte, key, value string) []byte {
	b = jsontext.AppendString(append(b, `{"key":`...), key)
	b = jsontext.AppendString(append(b, `,"value":{"stringValue":`...), value)
	return append(b, '}', '}')
}

// appendJSONValue appends v, as encoding/json decodes it, as an AnyValue.
func appendJSONValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case string:
		return append(jsontext.AppendString(append(b, `{"stringValue":`...), v), '}')
	case bool:
		return append(strconv.AppendBool(append(b, `{"boolValue":`...), v), '}')
	case json.Number:
		if n, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			return append(strconv.AppendInt(append(b, `{"intValue":"`...), n, 10), '"', '}')
		}
		if _, err := v.Float64(); err == nil {
			return append(append(append(b, `{"doubleValue":`...), v.String()...), '}')
		}
		return append(jsontext.AppendString(append(b, `{"stringValue":`...), v.String()), '}')
	case []any:
		b = append(b, `{"arrayValue":{"values":[`...)
		for i, x := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendJSONValue(b, x)
		}
		return append(b, `]}}`...)
	case map[string]any:
		b = append(b, `{"kvlistValue":{"values":[`...)
		for i, k := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(jsontext.AppendString(append(b, `{"key":`...), k), `,"value":`...)
			b = append(appendJSONValue(b, v[k]), '}')
		}
		return append(b, `]}}`...)
	}

	return append(b, '{', '}')
}

// maxDepth is how many lists and objects stand within one another; what lies
// deeper is sent as its JSON text. A level takes three messages, of which decoders
// of protocol buffers in C++, Java and Rust stop at 100 and refuse the whole
// request; VictoriaLogs makes one name of all levels, and drops an event whose
// name exceeds 128 bytes without a word.
const maxDepth = 8

// decode returns the JSON value raw, numbers as json.Number.
func decode(raw json.RawMessage) any {
	d := json.NewDecoder(stdbytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return string(raw)
	}
	return flatten(v, maxDepth)
}

// flatten puts the JSON text of what lies deeper than depth in its place.
func flatten(v any, depth int) any {
	object, isObject := v.(map[string]any)
	list, isList := v.([]any)
	if depth == 0 && (isObject || isList) {
		return jsonText(v)
	}

	for k, x := range object {
		object[k] = flatten(x, depth-1)
	}
	for i, x := range list {
		list[i] = flatten(x, depth-1)
	}
	return v
}

// jsonText returns v, which was decoded from JSON, as JSON again.
func jsonText(v any) string {
	var text strings.Builder
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // fails for no such value
	return strings.TrimSuffix(text.String(), "\n")
}

// utf8 returns s as protobuf's strings must be.
func utf8(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
