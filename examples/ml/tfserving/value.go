package tfserving

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// encode writes a value as the API takes it: as JSON, but for numbers that are
// not finite, and bytes.
func encode(value any) ([]byte, error) {
	var buf bytes.Buffer
	if err := appendValue(&buf, reflect.ValueOf(value), 0); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// maxDepth bounds nesting, so that a map which holds itself is an error.
const maxDepth = 100

func appendValue(buf *bytes.Buffer, v reflect.Value, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("the value is nested deeper than %d", maxDepth)
	}

	for v.Kind() == reflect.Interface || v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return errors.New("nil is no value of a tensor")
		}
		v = v.Elem()
	}

	switch v.Kind() {
	case reflect.Bool:
		buf.WriteString(strconv.FormatBool(v.Bool()))
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		buf.WriteString(strconv.FormatInt(v.Int(), 10))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		buf.WriteString(strconv.FormatUint(v.Uint(), 10))
	case reflect.Float32, reflect.Float64:
		appendFloat(buf, v.Float(), v.Type().Bits())
	case reflect.String:
		text, err := json.Marshal(v.String())
		if err != nil {
			return err
		}
		buf.Write(text)
	case reflect.Slice, reflect.Array:
		if v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8 {
			fmt.Fprintf(buf, `{"b64":%q}`, base64.StdEncoding.EncodeToString(v.Bytes()))
			return nil
		}
		buf.WriteByte('[')
		for i := range v.Len() {
			if i > 0 {
				buf.WriteByte(',')
			}
			if err := appendValue(buf, v.Index(i), depth+1); err != nil {
				return err
			}
		}
		buf.WriteByte(']')
	case reflect.Map:
		if v.Type().Key().Kind() != reflect.String {
			return fmt.Errorf("%s: keys of maps must be strings", v.Type())
		}
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		buf.WriteByte('{')
		for i, key := range keys {
			if i > 0 {
				buf.WriteByte(',')
			}
			if err := appendValue(buf, reflect.ValueOf(key.String()), depth); err != nil {
				return err
			}
			buf.WriteByte(':')
			if err := appendValue(buf, v.MapIndex(key), depth+1); err != nil {
				return fmt.Errorf("%s: %w", key.String(), err)
			}
		}
		buf.WriteByte('}')
	default:
		return fmt.Errorf("a value of type %s cannot be sent: use numbers, strings, booleans, []byte, and slices and maps of these", kindName(v))
	}
	return nil
}

func kindName(v reflect.Value) string {
	if !v.IsValid() {
		return "nil"
	}
	return v.Type().String()
}

func appendFloat(buf *bytes.Buffer, f float64, bits int) {
	switch {
	case math.IsNaN(f):
		buf.WriteString("NaN")
	case math.IsInf(f, 1):
		buf.WriteString("Infinity")
	case math.IsInf(f, -1):
		buf.WriteString("-Infinity")
	default:
		text := strconv.FormatFloat(f, 'g', -1, bits)
		buf.WriteString(text)
		if !strings.ContainsAny(text, ".e") {
			buf.WriteString(".0") // a whole float is no integer to the server
		}
	}
}

// decode reads what the API sends.
func decode(text []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(markWords(text)))
	dec.UseNumber()
	var tree any
	if err := dec.Decode(&tree); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one JSON value")
	}
	return toValue(tree)
}

// word is the key of the object that stands for a bare word meanwhile. No
// tensor has a name with a control character.
const word = "\x00word"

var words = map[string]float64{"NaN": math.NaN(), "Infinity": math.Inf(1), "-Infinity": math.Inf(-1)}

// markWords puts an object in place of each bare word that is no JSON.
func markWords(text []byte) []byte {
	if !bytes.Contains(text, []byte("NaN")) && !bytes.Contains(text, []byte("Infinity")) {
		return text
	}

	out := make([]byte, 0, len(text)+64)
	for i := 0; i < len(text); {
		if text[i] == '"' { // skip strings
			end := i + 1
			for end < len(text) && text[end] != '"' {
				if text[end] == '\\' {
					end++
				}
				end++
			}
			end = min(end+1, len(text))
			out = append(out, text[i:end]...)
			i = end
			continue
		}

		found := ""
		for w := range words {
			if bytes.HasPrefix(text[i:], []byte(w)) {
				found = w
			}
		}
		if found == "" {
			out = append(out, text[i])
			i++
			continue
		}
		out = append(out, `{"\u0000word":"`+found+`"}`...)
		i += len(found)
	}
	return out
}

// toValue turns what JSON gave into the values that the API means.
func toValue(v any) (any, error) {
	switch v := v.(type) {
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i, nil
		}
		f, err := v.Float64()
		if err != nil {
			return nil, fmt.Errorf("the number %s is out of range", v)
		}
		return f, nil
	case []any:
		for i := range v {
			item, err := toValue(v[i])
			if err != nil {
				return nil, err
			}
			v[i] = item
		}
	case map[string]any:
		if len(v) == 1 {
			if name, ok := v[word].(string); ok {
				return words[name], nil
			}
			if text, ok := v["b64"].(string); ok {
				bytes, err := base64.StdEncoding.DecodeString(text)
				if err != nil {
					return nil, fmt.Errorf("b64: %w", err)
				}
				return bytes, nil
			}
		}
		for key := range v {
			item, err := toValue(v[key])
			if err != nil {
				return nil, err
			}
			v[key] = item
		}
	}
	return v, nil
}

func float(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, true
	case int64:
		return float64(v), true
	}
	return 0, false
}

// Floats returns a list of numbers, such as the answer of a model with one
// number per instance.
func Floats(v any) ([]float64, error) {
	list, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("tfserving: a list of numbers was expected, not %T", v)
	}
	out := make([]float64, len(list))
	for i := range list {
		if out[i], ok = float(list[i]); !ok {
			return nil, fmt.Errorf("tfserving: element %d: a number was expected, not %T", i, list[i])
		}
	}
	return out, nil
}

// Matrix returns a list of lists of numbers, such as the answer of a model
// with one probability per class.
func Matrix(v any) ([][]float64, error) {
	list, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("tfserving: a list of lists was expected, not %T", v)
	}
	out := make([][]float64, len(list))
	for i := range list {
		row, err := Floats(list[i])
		if err != nil {
			return nil, fmt.Errorf("tfserving: element %d: %w", i, err)
		}
		out[i] = row
	}
	return out, nil
}
