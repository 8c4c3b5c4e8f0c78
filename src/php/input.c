/* php://input of a POST that no parser takes apart, read where rr keeps the body. PHP's own reader copies it to a temporary file
 * first, whatever is longer than 16 KiB. */
#include "php.h"
#include "SAPI.h"
#include "php_content_types.h"
#include "php_streams.h"

#include "shim.h"

typedef struct {
	zend_off_t position;
	zend_off_t length;
} rr_input;

static ssize_t input_read(php_stream *stream, char *buffer, size_t count)
{
	rr_input *input = stream->abstract;
	size_t got = SG(server_context) ? rr_on_read_at(SG(server_context), (uint64_t) input->position, buffer, count) : 0;
	input->position += (zend_off_t) got;
	stream->eof = got < count;
	return (ssize_t) got;
}

static int input_seek(php_stream *stream, zend_off_t offset, int whence, zend_off_t *reached)
{
	rr_input *input = stream->abstract;
	zend_off_t from = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? input->position : input->length;
	if (offset < -from || offset > input->length - from) {
		*reached = input->position;
		return -1;
	}
	*reached = input->position = from + offset;
	stream->eof = 0;
	return 0;
}

static int input_close(php_stream *stream, int close_handle)
{
	efree(stream->abstract);
	return 0;
}

static int input_flush(php_stream *stream)
{
	return 0;
}

static const php_stream_ops input_ops = {
	NULL, input_read, input_close, input_flush, "rr request body", input_seek, NULL, NULL, NULL,
};

static SAPI_POST_READER_FUNC(read_body)
{
	zend_off_t length = (zend_off_t) SG(request_info).content_length;
	/* Too long a body has its warning from PHP's reader. */
	bool is_too_long = SG(post_max_size) > 0 && length > SG(post_max_size);
	if (SG(request_info).post_entry || is_too_long || !SG(server_context) || strcmp(SG(request_info).request_method, "POST") != 0) {
		php_default_post_reader();
		return;
	}
	rr_input *input = emalloc(sizeof(*input));
	*input = (rr_input) {.length = length};
	php_stream *stream = php_stream_alloc(&input_ops, input, NULL, "rb");
	/* php://input has a buffer itself. */
	stream->flags |= PHP_STREAM_FLAG_NO_BUFFER;
	SG(request_info).request_body = stream;
	SG(read_post_bytes) = length;
	SG(post_read) = 1;
}

/* Once PHP's modules are up: its own reader is registered with them. */
void rr_input_install(void)
{
	sapi_register_default_post_reader(read_body);
}
