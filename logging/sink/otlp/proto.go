package otlp

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"slices"
	"strconv"

	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/logging/sink/internal/post"
)

// The numbers of the fields in opentelemetry/proto/logs/v1/logs.proto,
// common/v1/common.proto and collector/logs/v1/logs_service.proto.
const (
	requestResourceLogs = 1

	resourceLogsResource  = 1
	resourceLogsScopeLogs = 2

	resourceAttributes = 1

	scopeLogsScope      = 1
	scopeLogsLogRecords = 2

	scopeName = 1

	recordTime           = 1
	recordSeverityNumber = 2
	recordSeverityText   = 3
	recordBody           = 5
	recordAttributes     = 6
	recordTraceID        = 9
	recordSpanID         = 10
	recordObservedTime   = 11

	keyValueKey   = 1
	keyValueValue = 2

	valueString = 1
	valueBool   = 2
	valueInt    = 3
	valueDouble = 4
	valueArray  = 5
	valueKVList = 6

	listValues = 1

	responsePartialSuccess = 1
	partialRejected        = 1
	partialMessage         = 2
)

// Wire types.
const (
	varint  = 0
	fixed64 = 1
	bytes   = 2
	fixed32 = 5
)

// uid is the key of the attribute that holds the ID of an event.
const uid = "log.record.uid"

const scope = "github.com/svcblocks/svcblocks/logging"

func appendTag(b []byte, field, wire int) []byte {
	return binary.AppendUvarint(b, uint64(field)<<3|uint64(wire))
}

func appendBytes[T string | []byte](b []byte, field int, p T) []byte {
	b = binary.AppendUvarint(appendTag(b, field, bytes), uint64(len(p)))
	return append(b, p...)
}

func appendFixed64(b []byte, field int, v uint64) []byte {
	return binary.LittleEndian.AppendUint64(appendTag(b, field, fixed64), v)
}

// appendMessage appends what fill appends, as a field with its length.
func appendMessage(b []byte, field int, fill func([]byte) []byte) []byte {
	b = appendTag(b, field, bytes)
	from := len(b)
	b = fill(b)
	n := len(b) - from
	var length [binary.MaxVarintLen64]byte
	return slices.Insert(b, from, length[:binary.PutUvarint(length[:], uint64(n))]...)
}

func appendProto(b []byte, resource []attribute, batch *logging.Batch) []byte {
	var records []byte
	for _, e := range batch.Events {
		records = appendMessage(records, scopeLogsLogRecords, func(b []byte) []byte { return appendRecord(b, e) })
	}

	return appendMessage(b, requestResourceLogs, func(b []byte) []byte {
		b = appendMessage(b, resourceLogsResource, func(b []byte) []byte {
			for _, a := range resource {
				b = appendStringAttribute(b, resourceAttributes, a.key, a.value)
			}
			return b
		})
		return appendMessage(b, resourceLogsScopeLogs, func(b []byte) []byte {
			b = appendMessage(b, scopeLogsScope, func(b []byte) []byte { return appendBytes(b, scopeName, scope) })
			return append(b, records...)
		})
	})
}

func appendRecord(b []byte, e logging.Event) []byte {
	r := post.Parse(e)
	b = appendFixed64(b, recordTime, uint64(r.Time.UnixNano()))
	b = appendFixed64(b, recordObservedTime, uint64(r.Time.UnixNano()))
	if n := post.Severity(r.Level); n > 0 {
		b = binary.AppendUvarint(appendTag(b, recordSeverityNumber, varint), uint64(n))
	}
	if r.Level != "" {
		b = appendBytes(b, recordSeverityText, r.Level)
	}

	b = appendMessage(b, recordBody, func(b []byte) []byte { return appendBytes(b, valueString, utf8(r.Message)) })
	for _, f := range r.Fields {
		if f.Key == uid {
			continue // is the event's own
		}
		b = appendMessage(b, recordAttributes, func(b []byte) []byte {
			b = appendBytes(b, keyValueKey, utf8(f.Key))
			return appendMessage(b, keyValueValue, func(b []byte) []byte { return appendValue(b, decode(f.Raw)) })
		})
	}

	b = appendStringAttribute(b, recordAttributes, uid, e.ID)
	if id, err := hex.DecodeString(r.Trace); err == nil && len(id) == 16 {
		b = appendBytes(b, recordTraceID, id)
	}
	if id, err := hex.DecodeString(r.Span); err == nil && len(id) == 8 {
		b = appendBytes(b, recordSpanID, id)
	}
	return b
}

func appendStringAttribute(b []byte, field int, key, value string) []byte {
	return appendMessage(b, field, func(b []byte) []byte {
		b = appendBytes(b, keyValueKey, utf8(key))
		return appendMessage(b, keyValueValue, func(b []byte) []byte { return appendBytes(b, valueString, utf8(value)) })
	})
}

// appendValue appends v, as encoding/json decodes it, as an AnyValue.
func appendValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case string:
		return appendBytes(b, valueString, utf8(v))
	case bool:
		return binary.AppendUvarint(appendTag(b, valueBool, varint), uint64(map[bool]int{true: 1}[v]))
	case json.Number:
		if n, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			return binary.AppendUvarint(appendTag(b, valueInt, varint), uint64(n))
		}
		if f, err := v.Float64(); err == nil {
			return appendFixed64(b, valueDouble, math.Float64bits(f))
		}
		return appendBytes(b, valueString, v.String())
	case []any:
		return appendMessage(b, valueArray, func(b []byte) []byte {
			for _, x := range v {
				b = appendMessage(b, listValues, func(b []byte) []byte { return appendValue(b, x) })
			}
			return b
		})
	case map[string]any:
		return appendMessage(b, valueKVList, func(b []byte) []byte {
			for _, k := range slices.Sorted(maps.Keys(v)) {
				b = appendMessage(b, listValues, func(b []byte) []byte {
					b = appendBytes(b, keyValueKey, utf8(k))
					return appendMessage(b, keyValueValue, func(b []byte) []byte { return appendValue(b, v[k]) })
				})
			}
			return b
		})
	}

	return b // null: an empty value
}

var errProto = errors.New("no protobuf")

// readProto reads an ExportLogsServiceResponse.
func readProto(p []byte) (rejected int64, message string, err error) {
	err = fields(p, func(field int, v uint64, data []byte) error {
		if field != responsePartialSuccess {
			return nil
		}
		return fields(data, func(field int, v uint64, data []byte) error {
			switch field {
			case partialRejected:
				rejected = int64(v)
			case partialMessage:
				message = string(data)
			}
			return nil
		})
	})

	return rejected, message, err
}

// fields calls visit with each field of a message: its value if it is a
// number, else its data.
func fields(p []byte, visit func(field int, v uint64, data []byte) error) error {
	for len(p) > 0 {
		tag, n := binary.Uvarint(p)
		if n <= 0 || tag>>3 == 0 || tag>>3 > math.MaxInt32 {
			return errProto
		}
		p = p[n:]

		var v uint64
		var data []byte
		switch tag & 7 {
		case varint:
			if v, n = binary.Uvarint(p); n <= 0 {
				return errProto
			}
			p = p[n:]
		case fixed64:
			if len(p) < 8 {
				return errProto
			}
			v, p = binary.LittleEndian.Uint64(p), p[8:]
		case fixed32:
			if len(p) < 4 {
				return errProto
			}
			v, p = uint64(binary.LittleEndian.Uint32(p)), p[4:]
		case bytes:
			size, n := binary.Uvarint(p)
			if n <= 0 || size > uint64(len(p)-n) {
				return errProto
			}
			data, p = p[n:n+int(size)], p[n+int(size):]
		default:
			return errProto
		}

		if err := visit(int(tag>>3), v, data); err != nil {
			return err
		}
	}

	return nil
}
