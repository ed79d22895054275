package otlp_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/logging/sink"
	"github.com/svcblocks/svcblocks/logging/sink/otlp"
	"github.com/svcblocks/svcblocks/logging/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = "canary-9c4e"

// mistakes fails t unless err names each of want, and not the token.
func mistakes(t *testing.T, err error, want ...string) {
	t.Helper()
	for _, w := range want {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("error %v does not contain %q", err, w)
		}
	}
	if strings.Contains(fmt.Sprint(err), "canary") {
		t.Errorf("error %v shows a secret", err)
	}
}

// record is what the tests look at in a log record.
type record struct {
	time             uint64
	severity         uint64
	body, level, uid string
	trace, span      string
	attributes       string
}

// readProto reads an ExportLogsServiceRequest.
func readProto(body []byte) (records []record, err error) {
	services := 0
	err = otlp.Fields(body, func(_ int, _ uint64, resourceLogs []byte) error {
		return otlp.Fields(resourceLogs, func(field int, _ uint64, data []byte) error {
			if field == 1 {
				if strings.Contains(string(data), "service.name") && strings.Contains(string(data), "shop") {
					services++
				}
				return nil
			}
			return otlp.Fields(data, func(field int, _ uint64, data []byte) error {
				if field != 2 {
					return nil
				}
				var r record
				err := otlp.Fields(data, func(field int, v uint64, data []byte) error {
					switch field {
					case 1:
						r.time = v
					case 2:
						r.severity = v
					case 3:
						r.level = string(data)
					case 5:
						return otlp.Fields(data, func(_ int, _ uint64, s []byte) error { r.body = string(s); return nil })
					case 6:
						r.attributes += fmt.Sprintf("%x ", data)
						if i := strings.Index(string(data), "log.record.uid"); i >= 0 {
							r.uid = string(data[i+len("log.record.uid")+4:])
						}
					case 9:
						r.trace = hex.EncodeToString(data)
					case 10:
						r.span = hex.EncodeToString(data)
					}
					return nil
				})
				records = append(records, r)
				return err
			})
		})
	})
	if services != 1 {
		return nil, fmt.Errorf("no resource")
	}
	return records, err
}

func readJSON(body []byte) (records []record, err error) {
	var req struct {
		ResourceLogs []struct {
			Resource struct {
				Attributes []struct {
					Key   string
					Value struct{ StringValue string }
				}
			}
			ScopeLogs []struct {
				LogRecords []struct {
					TimeUnixNano   uint64 `json:",string"`
					SeverityNumber uint64
					SeverityText   string
					Body           struct{ StringValue string }
					TraceID        string
					SpanID         string
					Attributes     []struct {
						Key   string
						Value map[string]any
					}
				}
			}
		}
	}
	if err := json.Unmarshal(body, &req); err != nil {
		return nil, err
	}
	if a := req.ResourceLogs[0].Resource.Attributes; len(a) != 1 || a[0].Key != "service.name" || a[0].Value.StringValue != "shop" {
		return nil, fmt.Errorf("resource %v", a)
	}
	for _, l := range req.ResourceLogs[0].ScopeLogs[0].LogRecords {
		r := record{time: l.TimeUnixNano, severity: l.SeverityNumber, level: l.SeverityText, body: l.Body.StringValue, trace: l.TraceID, span: l.SpanID}
		for _, a := range l.Attributes {
			if a.Key == "log.record.uid" {
				r.uid = a.Value["stringValue"].(string)
			}
			r.attributes += fmt.Sprint(a.Key, a.Value, " ")
		}
		records = append(records, r)
	}
	return records, nil
}

func harness(encoding string) sinktest.Harness {
	return sinktest.Harness{
		New: func(url string) (logging.Sink, error) {
			return otlp.New(&otlp.Options{URL: url, Encoding: encoding, Token: secret.New(token), Resource: map[string]string{"service.name": "shop"}})
		},
		Receive: func(r *http.Request, body []byte) (messages []string, err error) {
			read, contentType := readProto, "application/x-protobuf"
			if encoding == "json" {
				read, contentType = readJSON, "application/json"
			}
			if r.URL.Path != "/v1/logs" || r.Header.Get("Content-Type") != contentType || r.Header.Get("Authorization") != "Bearer "+token {
				return nil, fmt.Errorf("%s, headers %v", r.URL.Path, r.Header)
			}
			records, err := read(body)
			for _, l := range records {
				if l.uid == "" || l.time>>56 != 0x18 {
					return nil, fmt.Errorf("record %+v", l)
				}
				messages = append(messages, l.body)
			}
			return messages, err
		},
		Secret: token,
	}
}

func TestSuite(t *testing.T) {
	t.Parallel()
	for _, encoding := range []string{"protobuf", "json"} {
		t.Run(encoding, func(t *testing.T) {
			t.Parallel()
			sinktest.Run(t, harness(encoding))
		})
	}
}

func TestRecord(t *testing.T) {
	t.Parallel()
	for encoding, read := range map[string]func([]byte) ([]record, error){"protobuf": readProto, "json": readJSON} {
		t.Run(encoding, func(t *testing.T) {
			t.Parallel()
			var got []record
			srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err == nil {
					got, err = read(body)
				}
				if err != nil {
					t.Error(err)
				}
			}))
			defer srv.Close()
			defer srv.CloseClientConnections()
			sink, err := otlp.New(&otlp.Options{URL: srv.URL, Encoding: encoding, DisableGzip: true, Resource: map[string]string{"service.name": "shop"}})
			if err != nil {
				t.Fatal(err)
			}
			line := `{"time":"2026-01-02T15:04:05.5Z","level":"WARN+1","msg":"hello","trace_id":"0af7651916cd43dd8448eb211c80319c","span_id":"b7ad6b7169203331",` +
				`"s":"x","i":-7,"big":18446744073709551616,"f":1.5,"t":true,"n":null,"a":[1,"y",[false]],"o":{"k":{"z":1}}}`
			if err := sink.Send(context.Background(), &logging.Batch{Events: []logging.Event{{ID: "20260102150405000000-123456-0", Line: []byte(line)}}}); err != nil {
				t.Fatal(err)
			}
			r := got[0]
			if r.time != 1767366245500000000 || r.severity != 14 || r.level != "WARN+1" || r.body != "hello" || r.uid != "20260102150405000000-123456-0" ||
				r.trace != "0af7651916cd43dd8448eb211c80319c" || r.span != "b7ad6b7169203331" {
				t.Errorf("%+v", r)
			}
			if n := strings.Count(strings.TrimSpace(r.attributes), " "); encoding == "protobuf" && n != 8 {
				t.Errorf("%d attributes: %s", n+1, r.attributes)
			}
			want := `smap[stringValue:x] imap[intValue:-7] bigmap[doubleValue:1.8446744073709552e+19] fmap[doubleValue:1.5] tmap[boolValue:true] nmap[] ` +
				`amap[arrayValue:map[values:[map[intValue:1] map[stringValue:y] map[arrayValue:map[values:[map[boolValue:false]]]]]]] ` +
				`omap[kvlistValue:map[values:[map[key:k value:map[kvlistValue:map[values:[map[key:z value:map[intValue:1]]]]]]]]] ` +
				`log.record.uidmap[stringValue:20260102150405000000-123456-0] `
			if encoding == "json" && r.attributes != want {
				t.Errorf("attributes\n%s, want\n%s", r.attributes, want)
			}
		})
	}
}

func TestPartialSuccess(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		encoding, answer string
		want             logging.Kind
		fine, all        bool
	}{
		{"json", "", 0, true, false},
		{"json", "{}", 0, true, false},
		{"json", `{"partialSuccess":{}}`, 0, true, false},
		{"json", `{"partialSuccess":{"errorMessage":"a warning"}}`, 0, true, false},
		{"json", `{"partialSuccess":{"rejectedLogRecords":"2","errorMessage":"bad"}}`, logging.KindRejected, false, false},
		{"json", `{"partialSuccess":{"rejectedLogRecords":2}}`, logging.KindRejected, false, false},
		{"json", `{"partialSuccess":{"rejectedLogRecords":"3"}}`, logging.KindRejected, false, true},
		{"json", `<html>`, logging.KindRetry, false, false},
		{"protobuf", "", 0, true, false},
		{"protobuf", "\x0a\x00", 0, true, false},
		{"protobuf", "\x0a\x07\x08\x02\x12\x03bad", logging.KindRejected, false, false},
		{"protobuf", "<html>", logging.KindRetry, false, false},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, tt.answer) }))
		sink, err := otlp.New(&otlp.Options{URL: srv.URL, Encoding: tt.encoding})
		if err != nil {
			t.Fatal(err)
		}
		err = sink.Send(context.Background(), &logging.Batch{Events: make([]logging.Event, 3)})
		se, _ := errors.AsType[*logging.SinkError](err)
		if se != nil && (len(se.Rejected) == 3) != tt.all {
			t.Errorf("%s %q rejects %v", tt.encoding, tt.answer, se.Rejected)
		}
		if (err == nil) != tt.fine || se != nil && se.Kind != tt.want {
			t.Errorf("%s %q gives %v", tt.encoding, tt.answer, err)
		}
		srv.CloseClientConnections()
		srv.Close()
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte("\x0a\x07\x08\x02\x12\x03bad"))
	f.Add([]byte(`{"partialSuccess":{"rejectedLogRecords":"2"}}`))
	f.Fuzz(func(_ *testing.T, p []byte) {
		_, _, _ = otlp.ReadProto(p)
		_, _, _ = otlp.ReadJSON(p)
	})
}

func TestNewReportsAllMistakes(t *testing.T) {
	t.Parallel()
	_, err := otlp.New(nil)
	mistakes(t, err, "URL: is missing")
	_, err = otlp.New(&otlp.Options{URL: "http://h", Encoding: "xml", Token: secret.New("canary\n"), MaxBatchBytes: 5, HTTP: sink.HTTP{Timeout: -1}})
	mistakes(t, err, `Encoding: "xml"`, "Token: holds", "MaxBatchBytes: 5", "Timeout: -1ns")
}

func ExampleSink() {
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		fmt.Println(r.URL.Path, r.Header.Get("Content-Type"))
	}))
	defer collector.Close()
	sink, err := otlp.New(&otlp.Options{URL: collector.URL, Resource: map[string]string{"service.name": "shop"}, HTTP: sink.HTTP{Client: collector.Client()}})
	if err != nil {
		panic(err)
	}
	err = sink.Send(context.Background(), &logging.Batch{ID: "1-0", Events: []logging.Event{{ID: "1-0", Line: []byte(`{"msg":"hello"}`)}}})
	fmt.Println(err)
	// Output:
	// /v1/logs application/x-protobuf
	// <nil>
}

func ExampleOptions() {
	_, err := otlp.New(&otlp.Options{URL: "http://localhost:4318", Encoding: "xml"})
	fmt.Println(err)
	// Output: otlp: new: Encoding: "xml" is none of protobuf, json: give one of these
}

// TestDepth sends what is nested deeper than decoders and receivers follow.
func TestDepth(t *testing.T) {
	t.Parallel()
	for _, encoding := range []string{"protobuf", "json"} {
		t.Run(encoding, func(t *testing.T) {
			t.Parallel()
			var body []byte
			srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				var err error
				if body, err = io.ReadAll(r.Body); err != nil {
					t.Error(err)
				}
			}))
			defer srv.Close()
			sink, err := otlp.New(&otlp.Options{URL: srv.URL, Encoding: encoding, DisableGzip: true})
			if err != nil {
				t.Fatal(err)
			}

			line := `{"msg":"hello","deep":` + strings.Repeat(`{"level":[`, 4_000) + `"leaf <&>"` + strings.Repeat(`]}`, 4_000) + `}`
			if err := sink.Send(t.Context(), &logging.Batch{Events: []logging.Event{{ID: "20260102150405000000-123456-0", Line: []byte(line)}}}); err != nil {
				t.Fatal(err)
			}
			got := strings.ReplaceAll(string(body), `\"`, `"`)
			if n, want := strings.Count(got, "level"), 4_000; n != want {
				t.Errorf("%d levels arrived, want %d", n, want)
			}
			if text := strings.Repeat(`{"level":[`, 4_000-4) + `"leaf <&>"`; !strings.Contains(got, text) {
				t.Errorf("what lies deeper than four objects and four lists is not sent as text: %.300q", got)
			}
			if n := strings.Count(got, "kvlistValue"); encoding == "json" && n != 4 {
				t.Errorf("%d objects are sent as such, want 4", n)
			}
		})
	}
}
