package otlp

// Fields is the reader of protobuf messages, for tests.
var Fields = fields

// ReadProto and ReadJSON read answers.
var (
	ReadProto = readProto
	ReadJSON  = readJSON
)
